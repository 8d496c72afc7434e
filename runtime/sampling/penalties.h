// What a request does to the logits before a token is drawn, on any slice of the vocabulary: first
// its biases, then the repetition, frequency and presence penalties, last its mask. Arithmetic is
// in fp32, as vLLM's.
#pragma once

#include <cstdint>
#include <span>

#include "runtime/step/step_plan.h"

namespace trireme {

struct Adjustments {
  const SamplingParams* params = nullptr;
  std::span<const int32_t> bias_tokens;
  std::span<const float> bias_values;
  std::span<const int32_t> history_tokens;  // empty where no penalty is on
  std::span<const int32_t> history_counts;
  std::span<const uint32_t> mask;  // empty: all tokens may be drawn

  bool none() const { return bias_tokens.empty() && history_tokens.empty() && mask.empty(); }
};

// Those of a sample of a plan that passed CheckPlan.
Adjustments AdjustmentsOf(const StepPlan& plan, const SampleRow& sample, int64_t vocabulary);

// logits, adjusted: of tokens [first, first + size). What overflows is clamped to the largest
// finite number; a banned token's logit becomes -infinity.
void Adjust(std::span<const float> logits, int64_t first, const Adjustments& adjustments,
            std::span<float> adjusted);

}  // namespace trireme
