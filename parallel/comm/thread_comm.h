// Ranks that are threads of one process: for tests, which run whole groups this way in milliseconds
// and under the thread sanitizer, and for a group of one.
//
// Stricter than MPI: a send of any size ends only when it has been received, so code that would
// deadlock on a large message deadlocks (and is named) on a small one too.
#pragma once

#include <memory>
#include <vector>

#include "parallel/comm/communicator.h"
#include "parallel/comm/endpoint.h"
#include "parallel/comm/flight_ring.h"

namespace trireme {

// Must outlive its communicators.
class ThreadGroup {
 public:
  explicit ThreadGroup(int ranks);
  ThreadGroup(const ThreadGroup&) = delete;
  ThreadGroup& operator=(const ThreadGroup&) = delete;
  ~ThreadGroup();

  int size() const;
  // The communicator of all ranks, for the thread that plays `rank`. Once a rank.
  std::unique_ptr<Communicator> World(int rank);
  const FlightRing& ring(int rank) const;

 private:
  class Mailboxes;
  class ThreadEndpoint;
  std::unique_ptr<Mailboxes> mailboxes_;
  std::vector<std::unique_ptr<ThreadEndpoint>> endpoints_;
  std::vector<std::unique_ptr<FlightRing>> rings_;
};

}  // namespace trireme
