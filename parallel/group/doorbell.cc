#include "parallel/group/doorbell.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/memory/memory.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

// What a lost ring costs at most; 40 looks a second cost next to nothing.
constexpr std::chrono::milliseconds kLookEvery{25};
// How long after a ring its message may still be on the way, and how often to look meanwhile.
constexpr std::chrono::milliseconds kAwake{2};
constexpr std::chrono::microseconds kAwakeNap{20};

}  // namespace

Doorbell::Doorbell(std::unique_ptr<GroupSocket> socket) : socket_(std::move(socket)) {}

absl::StatusOr<std::unique_ptr<Doorbell>> Doorbell::Open(Communicator& world,
                                                         const GroupSocketOptions& options) {
  TRI_ASSIGN_OR_RETURN(auto socket, GroupSocket::Open(world, options, "doorbell"));
  return absl::WrapUnique(new Doorbell(std::move(socket)));
}

void Doorbell::Ring(int rank) const {
  if (rank != socket_->rank()) socket_->Send(rank, {});
}

void Doorbell::RingOthers() const {
  for (int rank = 0; rank < socket_->size(); ++rank) Ring(rank);
}

bool Doorbell::Wait(Deadline deadline) {
  if (!awake_until_.Passed()) {
    std::this_thread::sleep_for(std::min<std::chrono::nanoseconds>(kAwakeNap, deadline.Left()));
    return true;
  }
  const auto sleep = std::min<std::chrono::nanoseconds>(deadline.Left(), kLookEvery);
  socket_->AwaitReadable(Deadline::After(sleep));
  bool rung = false;
  while (socket_->Receive({}).has_value()) rung = true;
  if (rung) awake_until_ = Deadline::After(kAwake);
  return rung;
}

}  // namespace trireme
