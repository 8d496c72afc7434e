// One axis of the mesh made real: the Collectives that layers use, and the point-to-point and group calls that
// plans and stages travel by. Three implementations behave alike and pass one conformance suite: one process
// (solo), N threads of one process (tests, TSan-clean), and MPI.
//
// Every wait has a deadline; the verbs of Collectives, which take none, use the step's (SetStep). A wait polls:
// it spins briefly, yields, then sleeps in short naps, so that a waiting rank does not burn a core.
// The first failure is sticky (Collectives::status) and names operation, step, the rank waited for and its host.
// Thread: only the `step` thread calls a communicator (MPI is initialised FUNNELED or SERIALIZED).
//
// A posted send or receive goes on while its rank computes: the rank posts it, and later finishes it. In between,
// the verbs of Collectives move it along (also those of one rank, which have nothing else to do), and it counts as
// waited for only from Finish on: that is when the flight ring shows it.
//
// INV-COMM-1: ranks make the same sequence of calls, with equal sizes, on a communicator.
// INV-COMM-4: from a rank, at most one Recv or posted receive is in flight, so that calls match in their order.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/base/deadline.h"
#include "runtime/ops/collectives.h"

namespace trireme {

// What was posted and not yet finished.
struct Posted {
  enum class Kind { kNothing, kSend, kMessage, kReceive };
  Kind kind = Kind::kNothing;
  int ticket = -1;  // of the transport
  int peer = -1;
  size_t bytes = 0;
  uint64_t step = 0;  // that it was posted in
};

class Communicator : public Collectives {
 public:
  // Unlike a stage's Collectives, a world communicator may have any size; TreeSum CHECKs a power of two.

  // The step that following operations belong to, and the deadline of those that take none.
  virtual void SetStep(uint64_t step, Deadline deadline) = 0;

  virtual absl::Status Barrier(Deadline deadline, std::string_view what) = 0;
  // data: equal size on every rank.
  virtual absl::Status Broadcast(int root, std::span<std::byte> data, Deadline deadline,
                                 std::string_view what) = 0;
  // Matched sizes. Send returns when the buffer may be reused.
  virtual absl::Status Send(int to, std::span<const std::byte> data, Deadline deadline,
                            std::string_view what) = 0;
  virtual absl::Status Recv(int from, std::span<std::byte> data, Deadline deadline,
                            std::string_view what) = 0;
  // Messages of a size the receiver does not know; more than max_bytes is an error, checked before allocation.
  // What RecvMessage returns stays as it is until the next call of it.
  virtual absl::Status SendMessage(int to, std::span<const std::byte> data, Deadline deadline,
                                   std::string_view what) = 0;
  virtual absl::StatusOr<std::span<const std::byte>> RecvMessage(int from, size_t max_bytes,
                                                                 Deadline deadline,
                                                                 std::string_view what) = 0;

  // Starts what Send, Recv and SendMessage do, and returns at once. The buffer belongs to the communicator until
  // Finish returns. At most Endpoint::kMaxTransfer bytes.
  virtual absl::StatusOr<Posted> PostSend(int to, std::span<const std::byte> data) = 0;
  virtual absl::StatusOr<Posted> PostRecv(int from, std::span<std::byte> data) = 0;
  virtual absl::StatusOr<Posted> PostMessage(int to, std::span<const std::byte> data) = 0;
  // Whether Finish would return at once: `posted` has then become nothing.
  virtual absl::StatusOr<bool> Poll(Posted& posted) = 0;
  // Waits for the end of `posted`, which becomes nothing; of nothing: returns at once.
  virtual absl::Status Finish(Posted& posted, Deadline deadline, std::string_view what) = 0;
  // True when a message from `from` is waiting (RecvMessage would not block).
  virtual bool Probe(int from) = 0;

  // A communicator of the ranks that give the same color, ordered by key. Collective over this one.
  virtual absl::StatusOr<std::unique_ptr<Communicator>> Split(int color, int key,
                                                              Deadline deadline) = 0;

  // Where a rank runs, for messages.
  virtual std::string HostOf(int rank) const = 0;
};

}  // namespace trireme
