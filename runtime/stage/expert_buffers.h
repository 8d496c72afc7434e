// The scratch of routed layers, sized once for the longest step.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/model/architecture.h"
#include "runtime/model/memory_plan.h"

namespace trireme {

class ExpertBuffers {
 public:
  // config.experts must be set.
  ExpertBuffers(const ModelConfig& config, const Extent& extent, const StepScratch& scratch);

  // For a step of so many rows; `sums` holds rows * (1 + per_token) rows.
  ExpertScratch Scratch(int64_t rows, TensorView sums);

  // Slots that chose each expert so far, held here or not: [layers of the stage * experts].
  std::span<const int64_t> loads() const { return loads_; }

 private:
  int64_t per_token_;
  Range held_;
  Tensor logits_, rows_, gate_, up_, shared_gate_, shared_up_;
  std::vector<int32_t> chosen_, row_slots_, offsets_;
  std::vector<float> scores_;
  std::vector<int64_t> loads_;
};

}  // namespace trireme
