// A datagram socket among the ranks of a group, for what must get through while MPI is busy or
// stuck: heartbeats and doorbells. Lossy and unordered: nothing may depend on a datagram's arrival
// but the time at which something is noticed. What is not from the group (wrong address, size, or
// 128-bit group token) is dropped and counted.
//
// The token is a secret only as far as the network is private; the payload is not encrypted.
// Threads: Send from any; Receive and AwaitReadable from one.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "parallel/comm/communicator.h"
#include "parallel/group/group_address.h"

namespace trireme {

struct GroupSocketOptions {
  // The local address to use; empty: chosen (group_address.h).
  std::string address{};
  std::chrono::milliseconds setup_timeout{10'000};
};

class GroupSocket {
 public:
  static constexpr size_t kMaxPayload = 256;

  // Collective over `world`: chooses addresses, binds, and exchanges them. `purpose` names it in
  // log and errors.
  static absl::StatusOr<std::unique_ptr<GroupSocket>> Open(Communicator& world,
                                                           const GroupSocketOptions& options,
                                                           std::string_view purpose);
  GroupSocket(const GroupSocket&) = delete;
  GroupSocket& operator=(const GroupSocket&) = delete;
  ~GroupSocket();

  int rank() const { return rank_; }
  int size() const { return static_cast<int>(peers_.size()); }
  const NetAddress& address() const { return peers_[static_cast<size_t>(rank_)]; }
  const std::string& HostOf(int rank) const { return hosts_[static_cast<size_t>(rank)]; }
  uint64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }

  // Never blocks; a full buffer loses the datagram.
  void Send(int to, std::span<const std::byte> payload) const;

  struct Received {
    int from = 0;
    size_t bytes = 0;
  };
  // The next datagram of the group that holds exactly payload.size() bytes; nullopt when none
  // waits.
  std::optional<Received> Receive(std::span<std::byte> payload);
  // Sleeps until a datagram waits (true) or the deadline.
  bool AwaitReadable(Deadline deadline) const;

 private:
  using Token = std::array<uint8_t, 16>;
  GroupSocket(int fd, int rank, const Token& token);

  const int fd_;
  const int rank_;
  const Token token_;
  std::vector<NetAddress> peers_;
  std::vector<SocketAddress> targets_;
  std::vector<std::string> hosts_;
  std::atomic<uint64_t> dropped_{0};
};

}  // namespace trireme
