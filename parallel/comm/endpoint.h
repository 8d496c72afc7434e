// What a transport must offer for a PeerCommunicator to run over it: to start one send and one
// receive, to advance them by polling, and to see a waiting message. Everything collective is built
// on these in peer_comm.cc, so that each wait knows its peer and its deadline, and the order of
// additions is ours.
//
// One endpoint a rank; used by its `step` thread only.
#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace trireme {

// Traffic that must not be matched with other traffic between the same two ranks.
enum class Channel : int { kCollective = 0, kPointToPoint = 1, kMessage = 2 };
inline constexpr int kChannels = 4;  // room a context takes among a transport's tags

struct Route {
  int peer = 0;     // world rank
  int context = 0;  // which communicator
  Channel channel = Channel::kCollective;
};

class Endpoint {
 public:
  // Most bytes of one transfer.
  static constexpr size_t kMaxTransfer = size_t{1} << 30;

  struct Progress {
    bool sent = true;      // no send is in flight
    bool received = true;  // no receive is in flight
  };

  virtual ~Endpoint() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual std::string HostOf(int rank) const = 0;
  // False where ranks (and their threads) outnumber the cores they share.
  virtual bool may_spin() const = 0;

  // At most one of each in flight. Buffers must live until Advance reports them done, or Abandon.
  virtual absl::Status StartSend(Route to, std::span<const std::byte> data) = 0;
  virtual absl::Status StartReceive(Route from, std::span<std::byte> data) = 0;
  // An error when a transfer failed, or when what arrived has another size than the buffer.
  virtual absl::StatusOr<Progress> Advance() = 0;
  // Gives up what is in flight, after a failure: nothing useful can follow on this endpoint.
  virtual void Abandon() = 0;
  // Bytes of the next message from that route, if one has come.
  virtual std::optional<size_t> Waiting(Route from) = 0;

  // Contexts this process has used. A new communicator takes one that none of its ranks has
  // (INV-COMM-2: two communicators that share a rank differ in context).
  int contexts() const { return contexts_; }
  void UseContext(int context) { contexts_ = std::max(contexts_, context + 1); }

 private:
  int contexts_ = 1;  // 0 is the world's
};

}  // namespace trireme
