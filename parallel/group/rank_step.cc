#include "parallel/group/rank_step.h"

#include <algorithm>
#include <chrono>
#include <span>
#include <string>

#include "absl/strings/str_format.h"
#include "runtime/base/check.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

using Clock = Deadline::Clock;

int64_t MicrosecondsSince(Clock::time_point begin) {
  return std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - begin).count();
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
  if (place.stages == 1) return;
  const Extent& extent = stage_->extent();
  link_.emplace(world_,
                StageLinkOptions{.before = extent.first_stage() ? -1 : world_.rank() - place.shards,
                                 .after = extent.last_stage() ? -1 : world_.rank() + place.shards,
                                 .buffers = stage_->scratch().handed,
                                 .hidden = stage_->config().hidden});
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

absl::Status RankStep::PostLoads(const StepPlan& plan) {
  if (!plan.report_loads || loads_.empty()) return absl::OkStatus();
  const std::span<const int64_t> own = stage_->expert_loads();
  std::ranges::copy(own, std::span(loads_).last(own.size()).begin());
  TRI_ASSIGN_OR_RETURN(sent_loads_, world_.PostSend(world_.rank() + stage_->extent().place.shards,
                                                    std::as_bytes(std::span(loads_))));
  return absl::OkStatus();
}

int64_t RankStep::RowsOf(const StepPlan& plan) const {
  return std::min(static_cast<int64_t>(plan.tokens.size()), stage_->scratch().normed[0]);
}

absl::Status RankStep::Fail(const absl::Status& error) {
  if (failure_.ok()) {
    const bool own = !link_ || !link_->failed_before();
    failure_ =
        !own ? error
             : absl::Status(error.code(), absl::StrFormat("rank %d on host %s: %s", world_.rank(),
                                                          world_.HostOf(world_.rank()),
                                                          std::string(error.message())));
  }
  // A communicator that has failed says nothing any more; that is for the watch to tell.
  if (link_) link_->HandOnFailure(failure_).IgnoreError();
  return failure_;
}

absl::Status RankStep::Take(const StepPlan& plan, Deadline deadline) {
  if (!link_) return absl::OkStatus();
  TRI_ASSIGN_OR_RETURN(const TensorView rows, link_->Take(plan.step, RowsOf(plan), deadline));
  stage_->UseRows(rows);
  // The loads last sent are in the array that new ones go to.
  TRI_RETURN_IF_ERROR(
      world_.Finish(sent_loads_, deadline, "expert loads for the stage after to take"));
  return stage_->extent().first_stage() ? absl::OkStatus() : RecvLoads(plan, deadline);
}

absl::Status RankStep::TakeRows(const StepPlan& plan) {
  plan_ = &plan;
  deadline_ = Deadline::AfterMs(step_timeout_ms_);
  world_.SetStep(plan.step, deadline_);
  stage_comm_.SetStep(plan.step, deadline_);
  const auto begin = Clock::now();
  const absl::Status taken = Take(plan, deadline_);
  waited_us_ = MicrosecondsSince(begin);
  return taken.ok() && failure_.ok() ? taken : Fail(taken);
}

absl::Status RankStep::Expect(const StepPlan& next) {
  return link_ ? link_->Expect(RowsOf(next)) : absl::OkStatus();
}

absl::Status RankStep::Forward() {
  const absl::Status run = RunLayers();
  return run.ok() ? run : Fail(run);
}

absl::Status RankStep::RunLayers() {
  const auto begin = Clock::now();
  TRI_RETURN_IF_ERROR(stage_->Begin(*plan_));
  TRI_RETURN_IF_ERROR(stage_->Forward(stage_comm_));
  layers_us_ = MicrosecondsSince(begin);
  if (samples()) return absl::OkStatus();
  link_->AddTime({.wait_us = static_cast<uint32_t>(waited_us_),
                  .compute_us = static_cast<uint32_t>(layers_us_)});
  TRI_RETURN_IF_ERROR(link_->HandOn());
  return PostLoads(*plan_);
}

absl::StatusOr<std::optional<StepResult>> RankStep::Sample() {
  auto result = RunHead();
  if (!result.ok()) return Fail(result.status());
  return result;
}

absl::StatusOr<std::optional<StepResult>> RankStep::RunHead() {
  const auto begin = Clock::now();
  TRI_ASSIGN_OR_RETURN(StepResult result, stage_->Sample(stage_comm_));
  const StageTime time{.wait_us = static_cast<uint32_t>(waited_us_),
                       .compute_us = static_cast<uint32_t>(layers_us_ + MicrosecondsSince(begin))};
  if (link_) link_->AddTime(time);
  if (stage_->extent().place.shard != 0) return std::optional<StepResult>();
  if (plan_->report_loads) {
    const auto before = loads_.size() - stage_->expert_loads().size();
    result.expert_loads.insert(result.expert_loads.begin(), loads_.begin(),
                               loads_.begin() + static_cast<std::ptrdiff_t>(before));
  }
  if (link_) {
    result.stage_times.assign(link_->times().begin(), link_->times().end());
  } else {
    result.stage_times = {time};
  }
  return std::optional(std::move(result));
}

absl::Status RankStep::Finish(Deadline deadline) {
  TRI_RETURN_IF_ERROR(
      world_.Finish(sent_loads_, deadline, "expert loads for the stage after to take"));
  return link_ ? link_->Finish(deadline) : absl::OkStatus();
}

}  // namespace trireme
