// A plan as the index arrays that verbs take; built alike on every rank. Buffers are sized once.
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "runtime/ops/ops.h"
#include "runtime/step/step_plan.h"

namespace trireme {

struct BatchLimits {
  int64_t rows = 0;
  int64_t vocabulary = 0;
  int64_t max_positions = 0;
  int64_t pages = 0;
  int64_t chunk = 0;  // 0: the model has no layers that keep only a chunk
  int64_t chunk_pages = 0;
  int64_t page_tokens = 0;
};

// Every index of a plan that came over a wire is checked before it touches memory
// (INVALID_ARGUMENT).
absl::Status CheckPlan(const StepPlan& plan, const BatchLimits& limits);
// Whether the masks that came after the plan are as many as it says.
absl::Status CheckLateMasks(const StepPlan& plan, const BatchLimits& limits);

class Batch {
 public:
  explicit Batch(const BatchLimits& limits);

  // The plan must have passed CheckPlan and outlive the use of rows().
  void Assign(const StepPlan& plan);

  const RowIndex& rows() const { return rows_; }
  // Of layers that keep only the current chunk.
  const RowIndex& chunk_rows() const { return chunk_rows_; }

 private:
  const int64_t chunk_;
  std::vector<int32_t> sequences_;  // [rows] span of each row
  RowIndex rows_;
  RowIndex chunk_rows_;
};

}  // namespace trireme
