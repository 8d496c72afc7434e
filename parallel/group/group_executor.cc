#include "parallel/group/group_executor.h"

#include "runtime/base/log.h"
#include "runtime/base/status_macros.h"
#include "runtime/step/codec.h"

namespace trireme {
namespace {

constexpr int kLeader = 0;
// How long a follower looks for the next plan before it sleeps: longer than the leader's
// bookkeeping between two steps, short enough to leave an idle rank's CPU alone.
constexpr int64_t kLookMicroseconds = 300;
// A doorbell that was lost costs at most this.
constexpr int64_t kSleepMs = 50;

void WaitForPlan(const GroupLinks& links) {
  const Deadline look = Deadline::After(std::chrono::microseconds(kLookMicroseconds));
  while (!links.world->Probe(kLeader)) {
    if (look.Passed()) links.sleep(Deadline::AfterMs(kSleepMs));
    if (!links.world->status().ok()) return;
  }
}

}  // namespace

GroupExecutor::GroupExecutor(std::unique_ptr<Stage> stage, const GroupLinks& links)
    : links_(links), rank_step_(std::move(stage), links) {}

GroupExecutor::~GroupExecutor() {
  if (lost_) return;
  StepPlan stop;
  stop.stop = true;
  if (const absl::Status status = SendToFollowers(stop); !status.ok()) {
    LogWarning("could not stop the followers", {{"error", status.ToString()}});
  }
}

absl::Status GroupExecutor::Lost(absl::Status error) {
  lost_ = true;
  return error;
}

absl::Status GroupExecutor::SendToFollowers(const StepPlan& plan) {
  if (links_.world->size() == 1) return absl::OkStatus();
  EncodePlan(plan, encoded_);
  links_.wake_followers();
  const Deadline deadline = Deadline::AfterMs(links_.step_timeout_ms);
  for (int rank = 1; rank < links_.world->size(); ++rank) {
    TRI_RETURN_IF_ERROR(links_.world->SendMessage(rank, encoded_, deadline, "step plan"));
  }
  return absl::OkStatus();
}

absl::Status GroupExecutor::Submit(const StepPlan& plan) {
  const Deadline deadline = Deadline::AfterMs(links_.step_timeout_ms);
  links_.begin_step(plan.step, deadline);
  links_.world->SetStep(plan.step, deadline);
  if (absl::Status sent = SendToFollowers(plan); !sent.ok()) return Lost(std::move(sent));
  auto result = rank_step_.Run(plan);
  if (!result.ok()) return Lost(result.status());
  result_ = *std::move(result);
  return absl::OkStatus();
}

absl::StatusOr<StepResult> GroupExecutor::Await(Deadline deadline) {
  if (result_) {
    StepResult result = *std::move(result_);
    result_.reset();
    links_.end_step();
    return result;
  }
  auto message = links_.world->RecvMessage(rank_step_.sampling_rank(), kMaxEncodedResult, deadline,
                                           "step result");
  if (!message.ok()) return Lost(message.status());
  auto result = DecodeResult(*message);
  if (!result.ok()) return Lost(result.status());
  links_.end_step();
  return result;
}

absl::Status RunFollower(std::unique_ptr<Stage> stage, const GroupLinks& links) {
  RankStep rank_step(std::move(stage), links);
  std::vector<std::byte> encoded;
  while (true) {
    WaitForPlan(links);
    TRI_RETURN_IF_ERROR(links.world->status());
    const Deadline deadline = Deadline::AfterMs(links.step_timeout_ms);
    TRI_ASSIGN_OR_RETURN(const std::vector<std::byte> message,
                         links.world->RecvMessage(kLeader, kMaxEncodedPlan, deadline, "step plan"));
    TRI_ASSIGN_OR_RETURN(const StepPlan plan, DecodePlan(message));
    if (plan.stop) return absl::OkStatus();
    links.begin_step(plan.step, Deadline::AfterMs(links.step_timeout_ms));
    const auto result = rank_step.Run(plan);
    const bool samples = links.world->rank() == rank_step.sampling_rank();
    if (samples && (!result.ok() || result->has_value())) {
      EncodeResult(result.ok() ? absl::StatusOr<StepResult>(**result) : result.status(), encoded);
      TRI_RETURN_IF_ERROR(links.world->SendMessage(
          kLeader, encoded, Deadline::AfterMs(links.step_timeout_ms), "step result"));
    }
    TRI_RETURN_IF_ERROR(result.status());
    links.end_step();
  }
}

}  // namespace trireme
