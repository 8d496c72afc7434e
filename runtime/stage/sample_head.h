// The end of the last stage: from hidden rows to the tokens that a plan's samples ask for. Each
// shard computes the logits of its slice of the vocabulary, once a row however many samples name
// it, and takes its part in sampling (sampling/shard_sampler.h). Logits are gathered only for
// samples that want them.
#pragma once

#include <span>
#include <vector>

#include "absl/status/status.h"
#include "runtime/model/architecture.h"
#include "runtime/model/memory_plan.h"
#include "runtime/sampling/shard_sampler.h"
#include "runtime/step/step_plan.h"

namespace trireme {

class SampleHead {
 public:
  SampleHead(int64_t vocabulary, const Extent& extent, const StepScratch& scratch);

  // Appends to `results` on shard 0. hidden: the plan's rows; the plan passed CheckPlan.
  absl::Status Sample(const Architecture& architecture, LayerContext& c, TensorView hidden,
                      const StepPlan& plan, std::vector<SampledToken>& results);

 private:
  // The next samples whose logits are computed together; leaves their rows in row_ids_.
  std::span<const SampleRow> NextBlock(std::span<const SampleRow> samples);
  absl::Status SampleBlock(std::span<const SampleRow> block, LayerContext& c, const StepPlan& plan,
                           std::vector<SampledToken>& results);
  // How many samples share the sampler's exchanges.
  static size_t BatchSize(std::span<const SampleRow> samples);
  absl::Status GatherLogits(const float* slice, Collectives& collectives,
                            SampledToken* result) const;

  const VocabularySlice slice_;
  const std::vector<int64_t> widths_;  // of all shards' slices
  Tensor rows_, logits_, work_;
  std::vector<int32_t> row_ids_;             // of a block, each once
  std::vector<const float*> sample_logits_;  // of a block's samples
  std::vector<int64_t> exchange_widths_;
  ShardSampler sampler_;
};

}  // namespace trireme
