// An Executor of one rank: a stage that holds the whole model, no transport. Steps run inside
// Submit.
#pragma once

#include <memory>
#include <optional>

#include "runtime/ops/collectives.h"
#include "runtime/stage/stage.h"
#include "runtime/step/executor.h"

namespace trireme {

class LocalExecutor final : public Executor {
 public:
  // The stage must be first and last of its pipeline, with one shard.
  explicit LocalExecutor(std::unique_ptr<Stage> stage);

  absl::Status Submit(const StepPlan& plan, absl::FunctionRef<void()> wait_for_masks) override;
  absl::StatusOr<StepResult> Await(Deadline deadline) override;
  int depth() const override { return 1; }

 private:
  std::unique_ptr<Stage> stage_;
  SoloCollectives collectives_;
  std::optional<StepResult> result_;
};

}  // namespace trireme
