#include "runtime/stage/expert_buffers.h"

namespace trireme {
ExpertBuffers::ExpertBuffers(const ModelConfig& config, const Extent& extent,
                             const StepScratch& scratch)
    : per_token_(config.experts->per_token), held_(extent.routed_experts) {
  const int64_t slots = scratch.expert_rows[0];
  logits_ = Tensor(DType::kF32, scratch.router_logits);
  rows_ = Tensor(DType::kF32, scratch.expert_rows);
  gate_ = Tensor(DType::kF32, scratch.expert_gate);
  up_ = Tensor(DType::kF32, scratch.expert_up);
  shared_gate_ = Tensor(DType::kF32, scratch.shared_gate);
  shared_up_ = Tensor(DType::kF32, scratch.shared_up);
  chosen_.resize(static_cast<size_t>(slots));
  row_slots_.resize(static_cast<size_t>(slots));
  scores_.resize(static_cast<size_t>(slots));
  offsets_.resize(static_cast<size_t>(held_.size() + 1));
  loads_.resize(static_cast<size_t>(extent.layers.size() * config.experts->count));
}

ExpertScratch ExpertBuffers::Scratch(int64_t rows, TensorView sums) {
  const int64_t slots = rows * per_token_;
  const auto count = static_cast<size_t>(slots);
  return {.logits = logits_.view().Rows({0, rows}),
          .routing = {.per_token = per_token_,
                      .held = held_,
                      .experts = std::span(chosen_).first(count),
                      .scores = std::span(scores_).first(count),
                      .rows = std::span(row_slots_).first(count),
                      .offsets = offsets_,
                      .loads = loads_},
          .rows = rows_.view().Rows({0, slots}),
          .gate = gate_.view().Rows({0, slots}),
          .up = up_.view().Rows({0, slots}),
          .shared_gate = shared_gate_.view().Rows({0, rows}),
          .shared_up = shared_up_.view().Rows({0, rows}),
          .sums = sums};
}

}  // namespace trireme
