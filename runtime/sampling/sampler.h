// From a row of logits to a token. The order is vLLM V1's, so that clients see the distribution
// they know:
//
//   1. add the biases; then the penalties: repetition (of tokens that prompt or completion holds),
//      frequency, presence (both of the completion's); then the mask
//   2. greedy (the largest logit, ties to the lower id) if temperature < 1e-5; otherwise
//   3. divide by the temperature
//   4. min_p: drop what is less likely than min_p times the most likely token
//   5. top_k: keep what is no less likely than the k-th (ties are kept)
//   6. top_p: from the least likely upward, drop while the dropped mass is at most 1 - top_p; the
//      most likely token always stays, and of tokens with equal mass the higher ids go first
//   7. renormalise and draw, by the inverse of the cumulative distribution in order of ids
//
// Everything is a pure function of the logits and of what the plan says of the sample, the same
// bits on every machine and however many shards the vocabulary is cut into: shard_sampler.h does
// the work, likelihood.h says in which numbers. Log-probabilities are of the logits as given,
// before step 1.
#pragma once

#include <span>
#include <vector>

#include "absl/status/status.h"
#include "runtime/step/step_plan.h"

namespace trireme {

// Temperatures below are greedy.
inline constexpr float kGreedyTemperature = 1e-5F;

// The most that parameters may be; of frequency and presence penalties either way.
inline constexpr float kMaxTemperature = 100;
inline constexpr float kMaxRepetitionPenalty = 10;
inline constexpr float kMaxPenalty = 2;

// INVALID_ARGUMENT naming the field, what is allowed and what was given (NaN and infinities
// included).
[[nodiscard]] absl::Status ValidateSamplingParams(const SamplingParams& params);

// One row on one shard, for tools and tests: a group's stage samples a step's rows together
// (ShardSampler), with the same result.
// logits: the whole vocabulary, not empty. row: valid as CheckPlan wants it; its biases, history
// and mask are the plan's. If a logit is NaN or infinite, or if every token is banned, `finite` is
// false and only want_logits is honoured. num_logprobs beyond the vocabulary reports all of it.
SampledToken Sample(std::span<const float> logits, const StepPlan& plan, const SampleRow& row);
SampledToken Sample(std::span<const float> logits, const SampleRow& row);

// The probabilities that Sample draws from, [vocabulary], zeros where filtered out. Logits must be
// finite, and not every token banned.
std::vector<float> FilteredProbabilities(std::span<const float> logits, const StepPlan& plan,
                                         const SampleRow& row);
std::vector<float> FilteredProbabilities(std::span<const float> logits,
                                         const SamplingParams& params);

}  // namespace trireme
