// One rank's part in a step: take the hidden rows of the stage before, run the layers, hand them on
// to the stage after, or, on the last stage, sample. The same code on the leader and on every
// follower. Several steps are under way in a group of several stages, one at each stage; a rank
// hands on without waiting, and takes what has come in while it computed.
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
#include "parallel/pipeline/stage_link.h"
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
  // Around each step of this rank, for whoever watches its deadline. With several under way, begun
  // again for the oldest that is left.
  std::function<void(uint64_t step, Deadline)> begin_step;
  std::function<void()> end_step;
  int64_t step_timeout_ms = 30'000;
  int max_in_flight = 0;  // of plans, at most; 0: one a stage
};

// When whoever watches is to find a step late that begins now: earlier than a communicator gives
// up, because the watch names the rank at the end of the chain of waits, a communicator only the
// one next to it.
inline Deadline WatchDeadline(const GroupLinks& links) {
  return Deadline::AfterMs(links.step_timeout_ms * 9 / 10);
}

class RankStep {
 public:
  RankStep(std::unique_ptr<Stage> stage, const GroupLinks& links);

  // A step is TakeRows, then Forward, then on the last stage Sample. Any error is final, and comes
  // again from every TakeRows; that takes the rows that are due all the same and tells the stage
  // after, so that no stage before or after waits for this one. (But for errors of the
  // communicators, after which nothing is sent.)
  //
  // Waits for the step's rows, or, on the first stage, for a buffer. The plan outlives the step.
  absl::Status TakeRows(const StepPlan& plan);
  // Lets the rows of the plan after come in while this one computes.
  absl::Status Expect(const StepPlan& next);
  // The stage's layers; hands on the rows, but for the last stage.
  absl::Status Forward();
  // On the last stage: the result on the rank that samples (shard 0), nothing on others. The plan's
  // masks are whole.
  absl::StatusOr<std::optional<StepResult>> Sample();
  // Until the stage after has taken everything.
  absl::Status Finish(Deadline deadline);

  const Stage& stage() const { return *stage_; }
  bool samples() const { return stage_->extent().last_stage(); }
  int sampling_rank() const;

 private:
  absl::Status Take(const StepPlan& plan, Deadline deadline);
  absl::Status RunLayers();
  absl::StatusOr<std::optional<StepResult>> RunHead();
  // Tells the stage after, names this rank in the error, and returns it.
  absl::Status Fail(const absl::Status& error);
  // Rows of the plan that the buffers hold (a plan that has more is refused by its stage).
  int64_t RowsOf(const StepPlan& plan) const;
  // Of the stages before, and of these and this one's; nothing where the plan asks for none.
  absl::Status RecvLoads(const StepPlan& plan, Deadline deadline);
  absl::Status PostLoads(const StepPlan& plan);

  std::unique_ptr<Stage> stage_;
  Communicator& world_;
  Communicator& stage_comm_;
  const int64_t step_timeout_ms_;
  // Of layers [0, end of this stage) on shard 0 of a model with routed experts, else empty; those
  // of the stages before are as of the last plan that asked.
  std::vector<int64_t> loads_;
  Posted sent_loads_;
  std::optional<StageLink> link_;  // in a group of several stages
  const StepPlan* plan_ = nullptr;
  Deadline deadline_ = Deadline::Never();  // of the current step
  int64_t waited_us_ = 0;                  // for its rows
  int64_t layers_us_ = 0;                  // in its layers
  absl::Status failure_;                   // the first
};

}  // namespace trireme
