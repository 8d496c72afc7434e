#include "parallel/group/rank_step.h"

#include <algorithm>
#include <span>

#include "runtime/base/check.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

std::span<std::byte> Bytes(TensorView view) {
  TRI_CHECK(view.contiguous());
  return {view.data, static_cast<size_t>(view.bytes())};
}

}  // namespace

RankStep::RankStep(std::unique_ptr<Stage> stage, const GroupLinks& links)
    : stage_(std::move(stage)),
      world_(*links.world),
      stage_comm_(*links.stage),
      step_timeout_ms_(links.step_timeout_ms) {
  const Place& place = stage_->extent().place;
  TRI_CHECK_EQ(world_.size(), place.stages * place.shards);
  TRI_CHECK_EQ(world_.rank(), place.stage * place.shards + place.shard);
  TRI_CHECK_EQ(stage_comm_.size(), place.shards);
  const std::optional<ExpertConfig>& experts = stage_->config().experts;
  if (experts && place.shard == 0) {
    loads_.resize(static_cast<size_t>(stage_->extent().layers.end * experts->count));
  }
}

int RankStep::sampling_rank() const {
  const Place& place = stage_->extent().place;
  return (place.stages - 1) * place.shards;
}

absl::Status RankStep::RecvLoads(const StepPlan& plan, Deadline deadline) {
  if (!plan.report_loads || loads_.empty()) return absl::OkStatus();
  const size_t before = loads_.size() - stage_->expert_loads().size();
  return world_.Recv(world_.rank() - stage_->extent().place.shards,
                     std::as_writable_bytes(std::span(loads_).first(before)), deadline,
                     "expert loads of the stages before");
}

absl::Status RankStep::SendLoads(const StepPlan& plan, Deadline deadline) {
  if (!plan.report_loads || loads_.empty()) return absl::OkStatus();
  const std::span<const int64_t> own = stage_->expert_loads();
  std::ranges::copy(own, std::span(loads_).last(own.size()).begin());
  return world_.Send(world_.rank() + stage_->extent().place.shards,
                     std::as_bytes(std::span(loads_)), deadline, "expert loads so far");
}

absl::StatusOr<std::optional<StepResult>> RankStep::Run(const StepPlan& plan) {
  const Deadline deadline = Deadline::AfterMs(step_timeout_ms_);
  const Extent& extent = stage_->extent();
  const int shards = extent.place.shards;
  world_.SetStep(plan.step, deadline);
  stage_comm_.SetStep(plan.step, deadline);
  TRI_RETURN_IF_ERROR(stage_->Begin(plan));
  if (!extent.first_stage()) {
    TRI_RETURN_IF_ERROR(world_.Recv(world_.rank() - shards, Bytes(stage_->hidden()), deadline,
                                    "hidden rows from the stage before"));
    TRI_RETURN_IF_ERROR(RecvLoads(plan, deadline));
  }
  TRI_RETURN_IF_ERROR(stage_->Forward(stage_comm_));
  if (!extent.last_stage()) {
    TRI_RETURN_IF_ERROR(world_.Send(world_.rank() + shards, Bytes(stage_->hidden()), deadline,
                                    "hidden rows for the stage after"));
    TRI_RETURN_IF_ERROR(SendLoads(plan, deadline));
    return std::optional<StepResult>();
  }
  TRI_ASSIGN_OR_RETURN(StepResult result, stage_->Sample(stage_comm_));
  if (extent.place.shard != 0) return std::optional<StepResult>();
  if (plan.report_loads) {
    const auto before = loads_.size() - stage_->expert_loads().size();
    result.expert_loads.insert(result.expert_loads.begin(), loads_.begin(),
                               loads_.begin() + static_cast<std::ptrdiff_t>(before));
  }
  return std::optional(std::move(result));
}

}  // namespace trireme
