#include "runtime/stage/local_executor.h"

#include "runtime/base/check.h"
#include "runtime/base/status_macros.h"

namespace trireme {

LocalExecutor::LocalExecutor(std::unique_ptr<Stage> stage) : stage_(std::move(stage)) {
  TRI_CHECK(stage_->extent().first_stage() && stage_->extent().last_stage() &&
            stage_->extent().place.shards == 1);
}

absl::Status LocalExecutor::Submit(const StepPlan& plan) {
  TRI_RETURN_IF_ERROR(stage_->Begin(plan));
  TRI_RETURN_IF_ERROR(stage_->Forward(collectives_));
  TRI_ASSIGN_OR_RETURN(StepResult result, stage_->Sample(collectives_));
  results_.push_back(std::move(result));
  return absl::OkStatus();
}

absl::StatusOr<StepResult> LocalExecutor::Await(Deadline) {
  TRI_CHECK(!results_.empty()) << "Await without a plan in flight";
  StepResult result = std::move(results_.front());
  results_.pop_front();
  return result;
}

}  // namespace trireme
