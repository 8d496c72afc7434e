// "Run this plan, tell me the tokens", whether one thread or 64 ranks do it.
#pragma once

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/base/deadline.h"
#include "runtime/step/step_plan.h"

namespace trireme {

class Executor {
 public:
  virtual ~Executor() = default;

  // Hands over a plan; results come back in the order of submission. Plans in flight are bounded by
  // depth(). Any error is final: the executor cannot be used again.
  virtual absl::Status Submit(const StepPlan& plan) = 0;
  virtual absl::StatusOr<StepResult> Await(Deadline deadline) = 0;

  // Most plans that may be submitted and not yet awaited.
  virtual int depth() const = 0;
};

}  // namespace trireme
