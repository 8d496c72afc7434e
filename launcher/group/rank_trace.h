// What one rank can tell of the group's last steps, as a Chrome trace: on the leader the engine's
// steps with every stage's times, on every rank its own last operations between ranks. Asked for by
// `trireme status --dump`, and left in a file when the group is lost.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "parallel/comm/flight_ring.h"
#include "runtime/engine/engine.h"

namespace trireme {

struct RankTrace {
  int rank = 0;
  int shards = 1;                  // of a stage
  std::vector<std::string> hosts;  // one a rank
  std::vector<StepRecord> steps;   // the leader's
  const FlightRing* ring = nullptr;
};

inline constexpr size_t kMostTraceBytes = size_t{3} << 20;

// `reason`: why it is written; empty: somebody asked. At most kMostTraceBytes.
std::string TraceOf(const RankTrace& trace, const std::string& reason);

// Writes it to a new file in `directory` ("": the system's for temporary files), whose path is
// returned.
absl::StatusOr<std::string> WriteTrace(const RankTrace& trace, const std::string& reason,
                                       const std::string& directory);

}  // namespace trireme
