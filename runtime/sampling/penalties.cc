#include "runtime/sampling/penalties.h"

#include <algorithm>
#include <limits>

namespace trireme {
namespace {

constexpr float kBanned = -std::numeric_limits<float>::infinity();

// The entry of a token within the slice, or nullptr.
float* Find(std::span<float> slice, int64_t first, int32_t token) {
  const int64_t at = token - first;
  if (at < 0 || at >= static_cast<int64_t>(slice.size())) return nullptr;
  return &slice[static_cast<size_t>(at)];
}

float Clamped(float logit) {
  constexpr float kMost = std::numeric_limits<float>::max();
  return std::clamp(logit, -kMost, kMost);
}

float Penalised(float logit, int32_t count, const SamplingParams& params) {
  if (logit == kBanned) return logit;
  const float r = params.repetition_penalty;
  logit = logit > 0 ? logit / r : logit * r;
  logit -= params.frequency_penalty * static_cast<float>(count);
  if (count > 0) logit -= params.presence_penalty;
  return Clamped(logit);
}

void ApplyMask(std::span<const uint32_t> mask, int64_t first, std::span<float> slice) {
  for (size_t i = 0; i < slice.size();) {
    const auto token = static_cast<size_t>(first) + i;
    const size_t bit = token % 32;
    const size_t end = std::min(slice.size(), i + (32 - bit));
    const uint32_t word = mask[token / 32] >> bit;
    if (word == 0) {
      std::fill(slice.begin() + static_cast<std::ptrdiff_t>(i),
                slice.begin() + static_cast<std::ptrdiff_t>(end), kBanned);
    } else {
      for (size_t j = i; j < end; ++j) {
        if (((word >> (j - i)) & 1) == 0) slice[j] = kBanned;
      }
    }
    i = end;
  }
}

}  // namespace

Adjustments AdjustmentsOf(const StepPlan& plan, const SampleRow& sample, int64_t vocabulary) {
  const auto part = [](const auto& all, const PlanRange& range) {
    return std::span(all).subspan(static_cast<size_t>(range.first),
                                  static_cast<size_t>(range.count));
  };
  const SamplingParams& params = sample.params;
  Adjustments adjustments{.params = &params};
  adjustments.bias_tokens = part(plan.bias_tokens, sample.biases);
  adjustments.bias_values = part(plan.bias_values, sample.biases);
  if (params.repetition_penalty != 1 || params.frequency_penalty != 0 ||
      params.presence_penalty != 0) {
    adjustments.history_tokens = part(plan.history_tokens, sample.history);
    adjustments.history_counts = part(plan.history_counts, sample.history);
  }
  if (sample.mask >= 0) {
    const auto words = static_cast<size_t>(MaskWords(vocabulary));
    adjustments.mask =
        std::span(plan.masks).subspan(static_cast<size_t>(sample.mask) * words, words);
  }
  return adjustments;
}

void Adjust(std::span<const float> logits, int64_t first, const Adjustments& adjustments,
            std::span<float> adjusted) {
  std::copy(logits.begin(), logits.end(), adjusted.begin());
  for (size_t i = 0; i < adjustments.bias_tokens.size(); ++i) {
    float* const logit = Find(adjusted, first, adjustments.bias_tokens[i]);
    if (logit == nullptr) continue;
    const float bias = adjustments.bias_values[i];
    *logit = bias == kBanned ? kBanned : Clamped(*logit + bias);
  }
  for (size_t i = 0; i < adjustments.history_tokens.size(); ++i) {
    float* const logit = Find(adjusted, first, adjustments.history_tokens[i]);
    if (logit == nullptr) continue;
    *logit = Penalised(*logit, adjustments.history_counts[i], *adjustments.params);
  }
  if (!adjustments.mask.empty()) ApplyMask(adjustments.mask, first, adjusted);
}

}  // namespace trireme
