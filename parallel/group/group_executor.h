// An Executor over the ranks of a group, on the leader: it sends each plan to every follower, runs
// the leader's own part, and returns what the sampling rank found.
//
// As many plans are in flight as there are stages, so that each stage has one to work on: Submit
// returns when the leader's stage has handed on its rows, and Await waits for the oldest plan's
// result.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "parallel/group/rank_step.h"
#include "parallel/pipeline/posted_messages.h"
#include "runtime/step/executor.h"

namespace trireme {

class GroupExecutor final : public Executor {
 public:
  // `stage` is rank 0's. The communicators in `links` must outlive this.
  GroupExecutor(std::unique_ptr<Stage> stage, const GroupLinks& links);
  // Takes the results of plans in flight, and tells the followers to leave their loop, unless the
  // group has failed.
  ~GroupExecutor() override;

  absl::Status Submit(const StepPlan& plan, absl::FunctionRef<void()> wait_for_masks) override;
  absl::StatusOr<StepResult> Await(Deadline deadline) override;
  int depth() const override { return depth_; }

 private:
  struct InFlight {
    uint64_t step = 0;
    Deadline late = Deadline::Never();  // for the watch
  };

  absl::Status Run(const StepPlan& plan, absl::FunctionRef<void()> wait_for_masks);
  absl::StatusOr<StepResult> TakeResult(Deadline deadline);
  absl::Status SendToFollowers(const StepPlan& plan, Deadline deadline);
  // To those who sample.
  absl::Status SendMasks(const StepPlan& plan, Deadline deadline);
  absl::Status StopFollowers(Deadline deadline);
  // Remembers that the group has failed.
  absl::Status Lost(const absl::Status& error);

  const GroupLinks links_;
  RankStep rank_step_;
  const int depth_;
  PostedMessages plans_;
  PostedMessages masks_;
  std::vector<InFlight> in_flight_;   // oldest first
  std::optional<StepResult> result_;  // where the leader samples
  absl::Status failure_;
};

// A follower's life: waits for plans and runs its part of each, until the leader says stop. After a
// failure it takes what is still in flight before it returns the error, so that every stage hears
// of it and none waits for this one.
absl::Status RunFollower(std::unique_ptr<Stage> stage, const GroupLinks& links);

}  // namespace trireme
