// How ranks become a group. First each rank checks itself (shards, hashes, mesh, memory, device)
// and votes ready or not with its reason; no collective of the model runs before all have agreed,
// so that one rank's error never leaves the others waiting in a collective. Then the transport is
// tried: every pair, every verb, with known values.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "parallel/comm/communicator.h"
#include "runtime/base/deadline.h"

namespace trireme {

// Something that must be equal on all ranks: {"model identity", "9f2c…"}.
struct StartIdentity {
  std::string what;
  std::string value;
};

struct StartVote {
  absl::Status ready;                     // OK, or why this rank cannot serve
  std::vector<StartIdentity> identities;  // the same `what`s in the same order on every rank
};

// Every rank gets the same answer: OK, or FAILED_PRECONDITION naming each rank that refused or
// differs (from rank 0) and why. DEADLINE_EXCEEDED when a rank did not vote in time; it is named.
absl::Status AgreeToStart(Communicator& world, const StartVote& vote, Deadline deadline);

// Exchanges known values between every pair, and through every verb of `world` and `stage`. The
// error names pair or verb.
absl::Status TestTransport(Communicator& world, Communicator& stage, Deadline deadline);

}  // namespace trireme
