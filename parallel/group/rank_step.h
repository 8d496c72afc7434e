// One rank's part in a step: take the hidden rows of the stage before, run the layers, hand them to
// the stage after, or, on the last stage, sample. The same code on the leader and on every
// follower.
//
// When a plan asks for expert loads, shard 0 of each stage sends those of all layers so far after
// its hidden rows, so they reach the sampling rank, and in its result the leader, by the way that
// the step takes anyway: no rank waits for one that it does not already wait for.
//
// World ranks are numbered stage by stage: rank = stage * shards + shard; rank 0 leads.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "parallel/comm/communicator.h"
#include "runtime/base/deadline.h"
#include "runtime/stage/stage.h"
#include "runtime/step/step_plan.h"

namespace trireme {

// How a rank reaches the others. The communicators outlive the objects that are given this.
struct GroupLinks {
  Communicator* world = nullptr;
  Communicator* stage = nullptr;  // the shards of this rank's stage, in order
  // Wakes every follower that sleeps (leader only); sleeps until woken, or briefly (followers
  // only). A wake-up may be lost or false: it only ever saves time.
  std::function<void()> wake_followers;
  std::function<void(Deadline)> sleep;
  // Around each step of this rank, for whoever watches its deadline.
  std::function<void(uint64_t step, Deadline)> begin_step;
  std::function<void()> end_step;
  int64_t step_timeout_ms = 30'000;
};

class RankStep {
 public:
  RankStep(std::unique_ptr<Stage> stage, const GroupLinks& links);

  // The result on the rank that samples (the last stage's shard 0), nothing on others. Any error is
  // final.
  absl::StatusOr<std::optional<StepResult>> Run(const StepPlan& plan);

  const Stage& stage() const { return *stage_; }
  int sampling_rank() const;

 private:
  // Of the stages before, and of these and this one's; nothing where the plan asks for none.
  absl::Status RecvLoads(const StepPlan& plan, Deadline deadline);
  absl::Status SendLoads(const StepPlan& plan, Deadline deadline);

  std::unique_ptr<Stage> stage_;
  Communicator& world_;
  Communicator& stage_comm_;
  const int64_t step_timeout_ms_;
  // Of layers [0, end of this stage) on shard 0 of a model with routed experts, else empty; those
  // of the stages before are as of the last plan that asked.
  std::vector<int64_t> loads_;
};

}  // namespace trireme
