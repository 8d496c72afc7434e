// An Executor over the ranks of a group, on the leader: it sends each plan to every follower, runs
// the leader's own part, and returns what the sampling rank found.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "parallel/group/rank_step.h"
#include "runtime/step/executor.h"

namespace trireme {

class GroupExecutor final : public Executor {
 public:
  // `stage` is rank 0's. The communicators in `links` must outlive this.
  GroupExecutor(std::unique_ptr<Stage> stage, const GroupLinks& links);
  // Tells the followers to leave their loop, unless the group has failed.
  ~GroupExecutor() override;

  absl::Status Submit(const StepPlan& plan) override;
  absl::StatusOr<StepResult> Await(Deadline deadline) override;
  int depth() const override { return 1; }

 private:
  absl::Status SendToFollowers(const StepPlan& plan);
  // Remembers that the group has failed.
  absl::Status Lost(absl::Status error);

  const GroupLinks links_;
  RankStep rank_step_;
  std::vector<std::byte> encoded_;
  std::optional<StepResult> result_;
  bool lost_ = false;
};

// A follower's life: waits for plans and runs its part of each, until the leader says stop (OK) or
// something fails.
absl::Status RunFollower(std::unique_ptr<Stage> stage, const GroupLinks& links);

}  // namespace trireme
