#include "parallel/group/group_executor.h"

#include <algorithm>
#include <array>
#include <span>
#include <string>
#include <utility>

#include "absl/strings/str_format.h"
#include "runtime/base/check.h"
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

// How long a rank of a group that has failed waits for the others to say and hear so.
constexpr int64_t kTellFailureMs = 1000;

int DepthOf(const RankStep& rank_step, const GroupLinks& links) {
  const int stages = rank_step.stage().extent().place.stages;
  return links.max_in_flight > 0 ? std::min(stages, links.max_in_flight) : stages;
}

// The plans that come to a follower: the one that it works on, and the one after, if that is there
// already. A plan's late masks come between the two, to those who sample.
class Inbox {
 public:
  explicit Inbox(const GroupLinks& links) : links_(links) {}

  // Waits for the next plan, which stays as it is until the call after.
  absl::StatusOr<const StepPlan*> Next(Deadline deadline) {
    current_ = 1 - current_;
    has_masks_ = false;
    if (!has_next_) {
      TRI_RETURN_IF_ERROR(WaitForPlan(deadline));
      TRI_RETURN_IF_ERROR(Receive(plans_[current_]));
    }
    has_next_ = false;
    return &plans_[current_];
  }

  // Waits for the current plan's masks, if they come later and have not come.
  absl::Status TakeMasks() {
    StepPlan& plan = plans_[current_];
    if (plan.late_masks == 0 || std::exchange(has_masks_, true)) return absl::OkStatus();
    TRI_ASSIGN_OR_RETURN(
        const std::span<const std::byte> message,
        links_.world->RecvMessage(kLeader, kMaxEncodedPlan,
                                  Deadline::AfterMs(links_.step_timeout_ms), "step masks"));
    return DecodeMasks(message, plan);
  }

  // The plan after, if it has come.
  absl::StatusOr<const StepPlan*> Peek() {
    StepPlan& next = plans_[1 - current_];
    if (!has_next_) {
      if (!links_.world->Probe(kLeader)) return nullptr;
      TRI_RETURN_IF_ERROR(Receive(next));
      has_next_ = true;
    }
    return &next;
  }

 private:
  absl::Status WaitForPlan(Deadline deadline) {
    const Deadline look = Deadline::After(std::chrono::microseconds(kLookMicroseconds));
    while (!links_.world->Probe(kLeader)) {
      TRI_RETURN_IF_ERROR(links_.world->status());
      if (deadline.Passed()) return absl::DeadlineExceededError("no plan came");
      if (look.Passed()) links_.sleep(Deadline::AfterMs(kSleepMs));
    }
    return absl::OkStatus();
  }

  absl::Status Receive(StepPlan& plan) {
    TRI_ASSIGN_OR_RETURN(
        const std::span<const std::byte> message,
        links_.world->RecvMessage(kLeader, kMaxEncodedPlan,
                                  Deadline::AfterMs(links_.step_timeout_ms), "step plan"));
    return DecodePlan(message, plan);
  }

  const GroupLinks& links_;
  std::array<StepPlan, 2> plans_;
  size_t current_ = 0;
  bool has_next_ = false;
  bool has_masks_ = false;  // of the current plan
};

// A follower's part of a step. Between its rows and its layers it looks for the plan after, whose
// rows may then come in while it computes.
absl::StatusOr<std::optional<StepResult>> FollowStep(RankStep& rank_step, const StepPlan& plan,
                                                     Inbox& inbox) {
  TRI_RETURN_IF_ERROR(rank_step.TakeRows(plan));
  if (rank_step.stage().extent().place.stages > 1) {
    // The leader has sent them with the rows that are here.
    if (rank_step.samples()) TRI_RETURN_IF_ERROR(inbox.TakeMasks());
    TRI_ASSIGN_OR_RETURN(const StepPlan* const next, inbox.Peek());
    if (next != nullptr && !next->stop) TRI_RETURN_IF_ERROR(rank_step.Expect(*next));
  }
  TRI_RETURN_IF_ERROR(rank_step.Forward());
  if (!rank_step.samples()) return std::nullopt;
  TRI_RETURN_IF_ERROR(inbox.TakeMasks());
  return rank_step.Sample();
}

absl::Status SendResult(PostedMessages& results, const absl::StatusOr<StepResult>& result,
                        Deadline deadline) {
  TRI_ASSIGN_OR_RETURN(std::vector<std::byte>* const bytes, results.Open(deadline));
  EncodeResult(result, *bytes);
  return results.Post(kLeader);
}

}  // namespace

GroupExecutor::GroupExecutor(std::unique_ptr<Stage> stage, const GroupLinks& links)
    : links_(links),
      rank_step_(std::move(stage), links),
      depth_(DepthOf(rank_step_, links)),
      plans_(*links.world, depth_ + 1, "step plan"),
      masks_(*links.world, depth_ + 1, "step masks") {}

GroupExecutor::~GroupExecutor() {
  const Deadline deadline =
      Deadline::AfterMs(failure_.ok() ? links_.step_timeout_ms : kTellFailureMs);
  // Those after a failure are failures too, and their senders wait for somebody to take them.
  absl::Status status = links_.world->status();
  while (status.ok() && !in_flight_.empty()) {
    TakeResult(deadline).status().IgnoreError();
    status = links_.world->status();
  }
  if (status.ok()) status = StopFollowers(deadline);
  if (!status.ok() && failure_.ok()) {
    LogWarning("could not stop the followers", {{"error", status.ToString()}});
  }
}

absl::Status GroupExecutor::Lost(const absl::Status& error) {
  failure_ = error;
  return error;
}

absl::Status GroupExecutor::SendToFollowers(const StepPlan& plan, Deadline deadline) {
  if (links_.world->size() == 1) return absl::OkStatus();
  TRI_ASSIGN_OR_RETURN(std::vector<std::byte>* const bytes, plans_.Open(deadline));
  EncodePlan(plan, *bytes);
  links_.wake_followers();
  for (int rank = 1; rank < links_.world->size(); ++rank) {
    TRI_RETURN_IF_ERROR(plans_.Post(rank));
  }
  return absl::OkStatus();
}

absl::Status GroupExecutor::StopFollowers(Deadline deadline) {
  TRI_RETURN_IF_ERROR(rank_step_.Finish(deadline));
  StepPlan stop;
  stop.stop = true;
  TRI_RETURN_IF_ERROR(SendToFollowers(stop, deadline));
  TRI_RETURN_IF_ERROR(masks_.Finish(deadline));
  return plans_.Finish(deadline);
}

absl::Status GroupExecutor::SendMasks(const StepPlan& plan, Deadline deadline) {
  const int first = std::max(rank_step_.sampling_rank(), kLeader + 1);
  if (first == links_.world->size()) return absl::OkStatus();
  TRI_ASSIGN_OR_RETURN(std::vector<std::byte>* const bytes, masks_.Open(deadline));
  EncodeMasks(plan, *bytes);
  for (int rank = first; rank < links_.world->size(); ++rank) {
    TRI_RETURN_IF_ERROR(masks_.Post(rank));
  }
  return absl::OkStatus();
}

absl::Status GroupExecutor::Submit(const StepPlan& plan, absl::FunctionRef<void()> wait_for_masks) {
  TRI_RETURN_IF_ERROR(failure_);
  TRI_CHECK_LT(static_cast<int>(in_flight_.size()), depth_) << "more plans in flight than depth()";
  in_flight_.push_back({plan.step, WatchDeadline(links_)});
  if (in_flight_.size() == 1) links_.begin_step(plan.step, in_flight_.front().late);
  const absl::Status run = Run(plan, wait_for_masks);
  return run.ok() ? run : Lost(run);
}

absl::Status GroupExecutor::Run(const StepPlan& plan, absl::FunctionRef<void()> wait_for_masks) {
  const Deadline deadline = Deadline::AfterMs(links_.step_timeout_ms);
  links_.world->SetStep(plan.step, deadline);
  TRI_RETURN_IF_ERROR(SendToFollowers(plan, deadline));
  TRI_RETURN_IF_ERROR(rank_step_.TakeRows(plan));
  TRI_RETURN_IF_ERROR(rank_step_.Forward());
  if (plan.late_masks > 0) {
    wait_for_masks();
    TRI_RETURN_IF_ERROR(SendMasks(plan, deadline));
  }
  if (!rank_step_.samples()) return absl::OkStatus();
  TRI_ASSIGN_OR_RETURN(result_, rank_step_.Sample());
  return absl::OkStatus();
}

absl::StatusOr<StepResult> GroupExecutor::TakeResult(Deadline deadline) {
  const uint64_t step = in_flight_.front().step;
  if (result_) {
    in_flight_.erase(in_flight_.begin());
    return *std::exchange(result_, std::nullopt);
  }
  links_.world->SetStep(step, deadline);
  // Gone also where nothing comes, or it would be waited for again.
  in_flight_.erase(in_flight_.begin());
  if (rank_step_.sampling_rank() == kLeader) return failure_;
  TRI_ASSIGN_OR_RETURN(const std::span<const std::byte> message,
                       links_.world->RecvMessage(rank_step_.sampling_rank(), kMaxEncodedResult,
                                                 deadline, "step result"));
  TRI_ASSIGN_OR_RETURN(StepResult result, DecodeResult(message));
  if (result.step == step) return result;
  return absl::InternalError(absl::StrFormat(
      "the result of step %d came where that of step %d was due", result.step, step));
}

absl::StatusOr<StepResult> GroupExecutor::Await(Deadline deadline) {
  TRI_RETURN_IF_ERROR(failure_);
  TRI_CHECK(!in_flight_.empty()) << "Await without a plan in flight";
  absl::StatusOr<StepResult> result = TakeResult(deadline);
  if (!result.ok()) return Lost(result.status());
  if (in_flight_.empty()) {
    links_.end_step();
  } else {
    links_.begin_step(in_flight_.front().step, in_flight_.front().late);
  }
  return result;
}

absl::Status RunFollower(std::unique_ptr<Stage> stage, const GroupLinks& links) {
  RankStep rank_step(std::move(stage), links);
  PostedMessages results(*links.world, DepthOf(rank_step, links), "step result");
  Inbox inbox(links);
  const bool samples = links.world->rank() == rank_step.sampling_rank();
  absl::Status failure;
  while (true) {
    const auto plan =
        inbox.Next(failure.ok() ? Deadline::Never() : Deadline::AfterMs(kTellFailureMs));
    if (!plan.ok()) return failure.ok() ? plan.status() : failure;
    const Deadline deadline = Deadline::AfterMs(links.step_timeout_ms);
    if ((*plan)->stop) {
      absl::Status finished = rank_step.Finish(deadline);
      if (finished.ok()) finished = results.Finish(deadline);
      return failure.ok() ? finished : failure;
    }
    links.begin_step((*plan)->step, WatchDeadline(links));
    absl::StatusOr<std::optional<StepResult>> result = FollowStep(rank_step, **plan, inbox);
    if (!result.ok()) failure.Update(result.status());
    if (!failure.ok() && !links.world->status().ok()) return failure;
    if (samples && (!result.ok() || result->has_value())) {
      TRI_RETURN_IF_ERROR(SendResult(
          results, result.ok() ? absl::StatusOr<StepResult>(**std::move(result)) : result.status(),
          deadline));
    }
    links.end_step();
  }
}

}  // namespace trireme
