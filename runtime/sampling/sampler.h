// From a row of logits to a token. The order is vLLM V1's (so that clients see the distribution
// they know): greedy if temperature < 1e-5, divide by temperature, min_p relative to the most
// likely token, top_k (ties at the k-th value kept), top_p (ascending cumulative mass <= 1 - p
// dropped, the most likely always kept), softmax, draw. Everything is a pure function of the logits
// and the SampleRow, in a fixed order of operations.
#pragma once

#include <span>
#include <vector>

#include "absl/status/status.h"
#include "runtime/step/step_plan.h"

namespace trireme {

// INVALID_ARGUMENT naming the field, what is allowed and what was given (NaN and infinities
// included).
absl::Status ValidateSamplingParams(const SamplingParams& params);

// logits: the whole vocabulary.
SampledToken Sample(std::span<const float> logits, const SampleRow& row);

// The probabilities that Sample draws from, [vocabulary], zeros where filtered out.
std::vector<float> FilteredProbabilities(std::span<const float> logits,
                                         const SamplingParams& params);

}  // namespace trireme
