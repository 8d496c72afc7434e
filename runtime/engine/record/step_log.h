// What the last steps were and how long each phase of them took: kept always, read when somebody
// asks or when something has gone wrong. A value without clock, lock or I/O; times are nanoseconds
// on Deadline::Clock and are passed in. Each file and each person sees the same records
// (step_trace.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "runtime/step/step_plan.h"

namespace trireme {

// The engine as a plan left it.
struct EngineLoad {
  int64_t running = 0;
  int64_t waiting = 0;
  int64_t free_pages = 0;
  int64_t cached_pages = 0;
};

struct StepRecord {
  uint64_t step = 0;
  int32_t rows = 0;
  int32_t spans = 0;
  int32_t decode_rows = 0;  // of spans whose every row is sampled: a token, and the drafts after it
  int32_t prefill_rows = 0;  // the others
  int32_t samples = 0;
  int32_t drafts = 0;       // decode rows beyond a span's first
  int32_t page_copies = 0;  // of both kinds
  EngineLoad load;
  int64_t planning_ns = 0;   // the scheduler began
  int64_t planned_ns = 0;    // it was done; the plan goes to the executor
  int64_t submitted_ns = 0;  // the executor has taken it
  int64_t awaited_ns = 0;    // the engine began to wait for its result; 0: not yet
  int64_t result_ns = 0;     // the result came; 0: the step is in flight
  int64_t completed_ns = 0;  // its tokens were delivered
  std::vector<StageTime> stage_times;
};

// The counts of a plan; the rest is for the caller to fill.
StepRecord RecordOf(const StepPlan& plan);

class StepLog {
 public:
  static constexpr size_t kRecords = 512;

  // A plan that was submitted; its number is higher than any before.
  void Submitted(StepRecord record);
  // The oldest that has no result yet got this one. `times` gives awaited_ns, result_ns and
  // completed_ns.
  void Completed(const StepResult& result, const StepRecord& times);

  // Oldest first.
  std::vector<StepRecord> Records() const;

 private:
  std::vector<StepRecord> records_;  // a ring, once it is full
  size_t next_ = 0;
};

}  // namespace trireme
