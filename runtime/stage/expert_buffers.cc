#include "runtime/stage/expert_buffers.h"

namespace trireme {
namespace {

Tensor Floats(int64_t rows, int64_t width) { return Tensor(DType::kF32, {rows, width}); }

}  // namespace

ExpertBuffers::ExpertBuffers(const ModelConfig& config, const Extent& extent, int64_t rows)
    : per_token_(config.experts->per_token), held_(extent.routed_experts) {
  const int64_t slots = rows * per_token_;
  logits_ = Floats(rows, config.experts->count);
  rows_ = Floats(slots, config.hidden);
  gate_ = Floats(slots, extent.routed_expert.columns.size());
  up_ = Floats(slots, extent.routed_expert.columns.size());
  shared_gate_ = Floats(rows, extent.shared_expert.columns.size());
  shared_up_ = Floats(rows, extent.shared_expert.columns.size());
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
