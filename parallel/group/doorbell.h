// How an idle rank sleeps. Waiting in MPI burns a core, so a follower without work sleeps on a
// socket; the leader rings and then sends by MPI as always.
//
// A ring may be lost, early or false: it never carries anything. The sleeper looks for itself every
// 25 ms, and stays awake for a moment after a ring, because the message follows it:
//
//   while (!world.Probe(leader)) bell.Wait(deadline);
//
// Threads: Ring from any, Wait from one (`step`).
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "parallel/group/group_socket.h"

namespace trireme {

class Doorbell {
 public:
  // Collective over `world`.
  static absl::StatusOr<std::unique_ptr<Doorbell>> Open(Communicator& world,
                                                        const GroupSocketOptions& options = {});

  // Never blocks. Ring before sending: a large message waits for the receiver to be awake.
  void Ring(int rank) const;
  void RingOthers() const;

  // Sleeps until rung, until it is time to look again, or until the deadline. True when rung (or
  // just after).
  bool Wait(Deadline deadline);

 private:
  explicit Doorbell(std::unique_ptr<GroupSocket> socket);

  std::unique_ptr<GroupSocket> socket_;
  Deadline awake_until_ = Deadline::AfterMs(0);
};

}  // namespace trireme
