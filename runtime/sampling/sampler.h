// From a row of logits to a token. The order is vLLM V1's, so that clients see the distribution
// they know:
//
//   1. greedy (the largest logit, ties to the lower id) if temperature < 1e-5; otherwise
//   2. divide by the temperature
//   3. min_p: drop what is less likely than min_p times the most likely token
//   4. top_k: keep logits no smaller than the k-th largest (ties are kept)
//   5. top_p: from the least likely upward, drop while the dropped mass is at most 1 - top_p; the
//   most
//      likely token always stays, and of tokens with equal mass the higher ids go first
//   6. renormalise and draw, by the inverse of the cumulative distribution in order of ids
//
// Everything is a pure function of the logits and the SampleRow, in a fixed order of operations, in
// double precision and with our own exp and log: the same bits on every machine. Log-probabilities
// are of the logits as given, before steps 2 to 5.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "runtime/step/step_plan.h"

namespace trireme {

// Temperatures below are greedy.
constexpr float kGreedyTemperature = 1e-5F;

// INVALID_ARGUMENT naming the field, what is allowed and what was given (NaN and infinities
// included).
[[nodiscard]] absl::Status ValidateSamplingParams(const SamplingParams& params);

// Memory that a caller with many rows to sample keeps from one to the next: the tokens that survive
// the filters, in order of ids.
struct SamplerScratch {
  std::vector<int32_t> ids;
  std::vector<double> weights;  // [ids] e^((logit - largest logit) / temperature)
  std::vector<float> logits;    // the largest, to find the k-th
  std::vector<size_t> ranked;   // indices of those among which top_p cuts
};

// logits: the whole vocabulary, not empty. row.params must be valid, row.target below the
// vocabulary. If a logit is NaN or infinite, `finite` is false and only want_logits is honoured.
// num_logprobs beyond the vocabulary reports all of it; below 0 no log-probability is computed.
SampledToken Sample(std::span<const float> logits, const SampleRow& row, SamplerScratch& scratch);
SampledToken Sample(std::span<const float> logits, const SampleRow& row);

// The probabilities that Sample draws from, [vocabulary], zeros where filtered out. Logits must be
// finite.
std::vector<float> FilteredProbabilities(std::span<const float> logits,
                                         const SamplingParams& params);

}  // namespace trireme
