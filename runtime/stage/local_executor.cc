#include "runtime/stage/local_executor.h"

#include "runtime/base/check.h"
#include "runtime/base/status_macros.h"

namespace trireme {

LocalExecutor::LocalExecutor(std::unique_ptr<Stage> stage) : stage_(std::move(stage)) {
  TRI_CHECK(stage_->extent().first_stage() && stage_->extent().last_stage() &&
            stage_->extent().place.shards == 1);
}

absl::Status LocalExecutor::Submit(const StepPlan& plan, absl::FunctionRef<void()> wait_for_masks) {
  TRI_CHECK(!result_) << "more plans in flight than depth()";
  TRI_RETURN_IF_ERROR(stage_->Begin(plan));
  TRI_RETURN_IF_ERROR(stage_->Forward(collectives_));
  if (plan.late_masks > 0) wait_for_masks();
  TRI_ASSIGN_OR_RETURN(result_, stage_->Sample(collectives_));
  return absl::OkStatus();
}

absl::StatusOr<StepResult> LocalExecutor::Await(Deadline) {
  TRI_CHECK(result_.has_value()) << "Await without a plan in flight";
  StepResult result = *std::move(result_);
  result_.reset();
  return result;
}

}  // namespace trireme
