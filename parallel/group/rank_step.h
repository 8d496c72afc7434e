// One rank's part in a step: take the hidden rows of the stage before, run the layers, hand them to
// the stage after, or, on the last stage, sample. The same code on the leader and on every
// follower.
//
// World ranks are numbered stage by stage: rank = stage * shards + shard; rank 0 leads.
#pragma once

#include <functional>
#include <memory>
#include <optional>

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
  std::unique_ptr<Stage> stage_;
  Communicator& world_;
  Communicator& stage_comm_;
  const int64_t step_timeout_ms_;
};

}  // namespace trireme
