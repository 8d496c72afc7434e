// What a transport must offer for a PeerCommunicator to run over it: to start sends and receives,
// to advance them by polling, and to see a waiting message. Everything collective is built on these
// in peer_comm.cc, so that each wait knows its peer and its deadline, and the order of additions is
// ours.
//
// A transfer that was started has a ticket, until Done says that it has ended. Several may be in
// flight: those of one route are matched in the order in which they were started, and at most one
// of them is a receive.
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

  virtual ~Endpoint() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual std::string HostOf(int rank) const = 0;
  // Whether two ranks run on one machine (under one kernel). Every rank knows it of all.
  virtual bool SharesMachine(int rank, int other) const = 0;
  // False where ranks (and their threads) outnumber the cores they share.
  virtual bool may_spin() const = 0;

  // A ticket. Buffers must live until Done is true of it, or Abandon.
  virtual absl::StatusOr<int> StartSend(Route to, std::span<const std::byte> data) = 0;
  virtual absl::StatusOr<int> StartReceive(Route from, std::span<std::byte> data) = 0;
  // Moves what is in flight along; true once the transfer has ended, and its ticket with it. An
  // error when it failed, was abandoned, or when what arrived has another size than the buffer.
  virtual absl::StatusOr<bool> Done(int ticket) = 0;
  // Moves what is in flight along, for a rank that computes meanwhile; next to nothing when nothing
  // is.
  virtual void Progress() = 0;
  // Gives up all that is in flight, after a failure: nothing useful can follow on this endpoint.
  virtual void Abandon() = 0;
  // Bytes of the next message from that route, if one has come.
  virtual std::optional<size_t> Waiting(Route from) = 0;

  // Contexts this process has used. A new communicator takes one that none of its ranks has
  // (INV-COMM-2: two communicators that share a rank differ in context).
  int contexts() const { return contexts_; }
  void UseContext(int context) { contexts_ = std::max(contexts_, context + 1); }

 protected:
  static absl::Status GivenUp() {
    return absl::UnavailableError("the transfer was given up when another one failed");
  }

 private:
  int contexts_ = 1;  // 0 is the world's
};

}  // namespace trireme
