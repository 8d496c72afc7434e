// A stage: layers [a, b) of a model on one rank, with its weights, KV pages and scratch. It turns a
// plan and the hidden rows of the stage before into hidden rows for the stage after, or, on the
// last stage, into tokens.
//
// Thread: `step`, which owns it. After Create nothing is allocated but what a result carries.
#pragma once

#include <memory>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/kv/page_pool.h"
#include "runtime/model/architecture.h"
#include "runtime/model/memory_plan.h"
#include "runtime/model/rope_table.h"
#include "runtime/stage/batch.h"
#include "runtime/stage/expert_buffers.h"
#include "runtime/stage/sample_head.h"
#include "runtime/step/step_plan.h"

namespace trireme {

struct StageOptions {
  DType kv_dtype = DType::kF32;
  int64_t pages = 0;
  int64_t chunk_pages = 0;  // of layers that keep only the current chunk, where there are some
  int64_t page_tokens = 32;
  int64_t max_step_tokens = 256;
  int64_t max_positions = 0;  // 0: the model's
};

// What a stage is made of; the parts below live as long as it.
struct StageParts {
  const Architecture* architecture = nullptr;
  ModelConfig config;
  Extent extent;
  Weights weights;
  std::unique_ptr<Ops> ops;
};

class Stage {
 public:
  static absl::StatusOr<std::unique_ptr<Stage>> Create(StageParts parts,
                                                       const StageOptions& options);
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;

  const Extent& extent() const { return parts_.extent; }
  const ModelConfig& config() const { return parts_.config; }

  // Slots that chose each expert since the start: [layers of the stage * experts], alike on every
  // shard; empty for a model without routed experts.
  std::span<const int64_t> expert_loads() const {
    return experts_ == nullptr ? std::span<const int64_t>() : experts_->loads();
  }

  // [max step tokens, hidden] memory of the caller's for hidden rows, from the next Begin on. A
  // stage of several has none of its own (StepScratch::handed).
  void UseRows(TensorView rows) { rows_ = rows; }
  const StepScratch& scratch() const { return scratch_; }
  // Checks the plan and makes it the current one. The plan must outlive the step.
  absl::Status Begin(const StepPlan& plan);
  // [rows of the plan, hidden]: filled by the caller (from the stage before) unless this is the
  // first stage, read by the caller (for the stage after) after Forward.
  TensorView hidden();
  // Copies the pages that the plan asks for, embeds (first stage) and runs the layers.
  absl::Status Forward(Collectives& collectives);
  // Last stage only: head and sampler. Shard 0 returns the tokens, the others none. Where the plan
  // asks for expert loads, the result has this stage's.
  absl::StatusOr<StepResult> Sample(Collectives& collectives);

 private:
  Stage(StageParts parts, const StageOptions& options);
  LayerContext Context(Collectives& collectives);
  ExpertScratch Experts(int64_t rows);
  void CopyPages();

  StageParts parts_;
  BatchLimits limits_;
  const StepScratch scratch_;
  PagePool pool_;
  RopeTable rope_;
  Batch batch_;
  const StepPlan* plan_ = nullptr;
  TensorView rows_;  // hidden_'s, or the caller's
  Tensor hidden_, normed_, partial_, query_, key_, value_, attended_, gate_, up_;
  Tensor query_scales_;
  std::unique_ptr<ExpertBuffers> experts_;  // of a model with routed experts
  std::unique_ptr<SampleHead> head_;        // of the last stage
};

}  // namespace trireme
