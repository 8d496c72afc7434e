// Step records as Chrome trace events, which Perfetto (ui.perfetto.dev) and chrome://tracing open:
// a process a rank, a track a phase. The format: "Trace Event Format" of the Chromium project.
//
// Ranks measure how long they waited and computed, not when: clocks of machines differ. A stage's
// work is drawn where it must have been: as soon as the stage before had ended the step and this
// one the step before, and no later than its result came.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "runtime/engine/record/step_log.h"

namespace trireme {

// Something else that a rank did, on a track of its own.
struct TraceSpan {
  std::string name;
  std::string detail;
  int64_t begin_ns = 0;
  int64_t end_ns = 0;  // 0: it goes on
};

struct TraceInput {
  std::span<const StepRecord> steps;
  std::vector<std::string> hosts;  // one a rank
  int shards = 1;                  // ranks of a stage
  int rank = 0;                    // whose operations these are
  std::vector<TraceSpan> operations;
  std::string reason;  // why the trace was written; empty: somebody asked
  int64_t now_ns = 0;
};

// At most about 1 MiB: StepLog::kRecords bounds the steps, FlightRing::kRecords the operations.
std::string ChromeTrace(const TraceInput& input);

}  // namespace trireme
