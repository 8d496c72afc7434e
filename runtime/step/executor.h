// "Run this plan, tell me the tokens", whether one thread or 64 ranks do it.
#pragma once

#include "absl/functional/function_ref.h"
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
  // Of a plan with late masks `wait_for_masks` returns when plan.masks is whole. It is called once,
  // on the caller's thread, before Submit returns: when the step is about to sample here, or when
  // the rows have been handed on to where it will.
  virtual absl::Status Submit(const StepPlan& plan, absl::FunctionRef<void()> wait_for_masks) = 0;
  virtual absl::StatusOr<StepResult> Await(Deadline deadline) = 0;

  // Most plans that may be submitted and not yet awaited.
  virtual int depth() const = 0;
};

}  // namespace trireme
