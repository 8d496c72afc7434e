#include "runtime/sampling/sampler.h"

#include <cstddef>
#include <memory>

#include "absl/strings/str_format.h"
#include "runtime/base/check.h"
#include "runtime/sampling/shard_sampler.h"

namespace trireme {
namespace {

// One row and the shard that holds all of it.
class LoneRow {
 public:
  LoneRow(std::span<const float> logits, const StepPlan& plan, const SampleRow& row)
      : logits_(logits),
        sampler_({.vocabulary = static_cast<int64_t>(logits.size()),
                  .begin = 0,
                  .end = static_cast<int64_t>(logits.size())}) {
    const size_t bytes = logits.size() * sizeof(float);
    const auto work = std::make_unique_for_overwrite<std::byte[]>(bytes);
    const float* const rows[] = {logits.data()};
    SoloExchange exchange;
    TRI_CHECK_OK(sampler_.Sample(
        {.plan = plan, .samples = {&row, 1}, .logits = rows, .work = {work.get(), bytes}}, exchange,
        nullptr, sampled_));
  }

  SampledToken& sampled() { return sampled_.front(); }
  const SampleFilter& filter() const { return sampler_.filter(0); }

 private:
  std::span<const float> logits_;
  ShardSampler sampler_;
  std::vector<SampledToken> sampled_;
};

absl::Status ValidatePenalties(const SamplingParams& params) {
  const float repetition = params.repetition_penalty;
  if (!(repetition > 0 && repetition <= kMaxRepetitionPenalty)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("repetition_penalty must be above 0 and at most %g (1 for off); got %g",
                        kMaxRepetitionPenalty, repetition));
  }
  const auto check = [](const char* name, float penalty) {
    if (penalty >= -kMaxPenalty && penalty <= kMaxPenalty) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s must be from %g to %g (0 for off); got %g", name, -kMaxPenalty, kMaxPenalty, penalty));
  };
  const absl::Status frequency = check("frequency_penalty", params.frequency_penalty);
  return frequency.ok() ? check("presence_penalty", params.presence_penalty) : frequency;
}

}  // namespace

absl::Status ValidateSamplingParams(const SamplingParams& params) {
  // Each condition is false for NaN.
  if (!(params.temperature >= 0 && params.temperature <= kMaxTemperature)) {
    return absl::InvalidArgumentError(absl::StrFormat("temperature must be from 0 to %g; got %g",
                                                      kMaxTemperature, params.temperature));
  }
  if (params.top_k < 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("top_k must be at least 1, or 0 for off; got %d", params.top_k));
  }
  if (!(params.top_p > 0 && params.top_p <= 1)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("top_p must be above 0 and at most 1 (1 for off); got %g", params.top_p));
  }
  if (!(params.min_p >= 0 && params.min_p <= 1)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("min_p must be from 0 (off) to 1; got %g", params.min_p));
  }
  return ValidatePenalties(params);
}

SampledToken Sample(std::span<const float> logits, const StepPlan& plan, const SampleRow& row) {
  LoneRow lone(logits, plan, row);
  if (row.want_logits) lone.sampled().logits.assign(logits.begin(), logits.end());
  return std::move(lone.sampled());
}

SampledToken Sample(std::span<const float> logits, const SampleRow& row) {
  return Sample(logits, StepPlan(), row);
}

std::vector<float> FilteredProbabilities(std::span<const float> logits, const StepPlan& plan,
                                         const SampleRow& row) {
  LoneRow lone(logits, plan, row);
  TRI_CHECK(lone.sampled().finite);
  const SampleFilter& filter = lone.filter();
  std::vector<float> probabilities(logits.size());
  if (row.params.temperature < kGreedyTemperature) {
    probabilities[static_cast<size_t>(filter.most_likely)] = 1;
    return probabilities;
  }
  std::vector<float> adjusted(logits.size());
  Adjust(logits, 0, AdjustmentsOf(plan, row, static_cast<int64_t>(logits.size())), adjusted);
  std::vector<double> weights(logits.size());
  double sum = 0;
  uint64_t ties = filter.kept.ties;
  for (size_t id = 0; id < adjusted.size(); ++id) {
    const double below = static_cast<double>(filter.largest) - static_cast<double>(adjusted[id]);
    const uint32_t steps = ToSteps(below * StepsPerLogit(row.params.temperature));
    if (steps > filter.kept.cut || (steps == filter.kept.cut && ties == 0)) continue;
    if (steps == filter.kept.cut) --ties;
    // Not from the steps, which end where a token is no longer drawn.
    weights[id] = PortableExp(-below / static_cast<double>(row.params.temperature));
    sum += weights[id];
  }
  for (size_t id = 0; id < weights.size(); ++id) {
    probabilities[id] = static_cast<float>(weights[id] / sum);
  }
  return probabilities;
}

std::vector<float> FilteredProbabilities(std::span<const float> logits,
                                         const SamplingParams& params) {
  SampleRow row;
  row.params = params;
  return FilteredProbabilities(logits, StepPlan(), row);
}

}  // namespace trireme
