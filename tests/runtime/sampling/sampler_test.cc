#include "runtime/sampling/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "tests/runtime/sampling/chi_square.h"
#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<float> RandomLogits(size_t size, float spread, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> logits(size);
  for (float& logit : logits) logit = normal(random);
  return logits;
}

SampleRow DrawingRow(const SamplingParams& params) {
  SampleRow row;
  row.params = params;
  return row;
}

TEST(SampleTest, IsGreedyBelowTheThresholdAndTakesTheLowerIdOfEquals) {
  const std::vector<float> logits = {1, 5, 2, 5, 5};
  for (const float temperature : {0.0F, 9e-6F}) {
    const SampledToken sampled = Sample(logits, DrawingRow({.temperature = temperature}));
    EXPECT_EQ(sampled.token, 1);
    EXPECT_TRUE(sampled.finite);
  }
}

TEST(SampleTest, ReportsLogProbabilitiesOfTheLogitsAsGiven) {
  const std::vector<float> logits = {0, 1, 2, 3};
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit));
  // Neither temperature nor filters change the log-probability.
  SampleRow row = DrawingRow({.temperature = 0.01F, .top_k = 1});
  row.num_logprobs = 3;
  const SampledToken sampled = Sample(logits, row);
  EXPECT_EQ(sampled.token, 3);
  EXPECT_EQ(sampled.logprob, static_cast<float>(3 - std::log(sum)));
  EXPECT_THAT(sampled.top_tokens, ElementsAre(3, 2, 1));
  ASSERT_THAT(sampled.top_logprobs, SizeIs(3));
  EXPECT_EQ(sampled.top_logprobs[0], sampled.logprob);
  EXPECT_EQ(sampled.top_logprobs[2], static_cast<float>(1 - std::log(sum)));
}

TEST(SampleTest, ListsTheMostLikelyFirstAndTiesByLowerId) {
  const std::vector<float> logits = {7, 9, 7, 9, 7, 1};
  SampleRow row;
  row.num_logprobs = 4;
  EXPECT_THAT(Sample(logits, row).top_tokens, ElementsAre(1, 3, 0, 2));
  row.num_logprobs = 100;  // more than there are
  EXPECT_THAT(Sample(logits, row).top_tokens, ElementsAre(1, 3, 0, 2, 4, 5));
  row.num_logprobs = 0;
  EXPECT_THAT(Sample(logits, row).top_tokens, IsEmpty());
}

TEST(SampleTest, ScoresATargetWithoutDrawing) {
  SampleRow row = DrawingRow({.temperature = 1});
  row.target = 0;
  row.num_logprobs = 0;
  const SampledToken sampled = Sample(std::vector<float>{0, 100}, row);
  EXPECT_EQ(sampled.token, 0);
  EXPECT_EQ(sampled.logprob, -100);
}

TEST(SampleTest, ComputesLogProbabilitiesOnlyWhenAsked) {
  SampleRow row;
  row.num_logprobs = -1;
  EXPECT_EQ(Sample(std::vector<float>{0, 100}, row).logprob, 0);
  EXPECT_EQ(Sample(std::vector<float>{0, 100}, row).token, 1);
  row.target = 0;
  row.num_logprobs = 0;
  EXPECT_EQ(Sample(std::vector<float>{0, 100}, row).logprob, -100);
}

TEST(SampleTest, ReturnsTheLogitsOnlyWhenAsked) {
  const std::vector<float> logits = {3, 1, 2};
  SampleRow row;
  EXPECT_THAT(Sample(logits, row).logits, IsEmpty());
  row.want_logits = true;
  EXPECT_EQ(Sample(logits, row).logits, logits);
}

TEST(SampleTest, DrawsNothingFromLogitsThatAreNotFinite) {
  for (const float bad : {kNan, -kNan, kInfinity, -kInfinity}) {
    for (const size_t at : {0, 8, 16}) {
      std::vector<float> logits(17, 1.0F);
      logits[at] = bad;
      SampleRow row = DrawingRow({.temperature = 1});
      row.num_logprobs = 2;
      row.want_logits = true;
      const SampledToken sampled = Sample(logits, row);
      EXPECT_FALSE(sampled.finite) << bad << " at " << at;
      EXPECT_THAT(sampled.top_tokens, IsEmpty());
      EXPECT_THAT(sampled.logits, SizeIs(17));  // for whoever looks for the cause
    }
  }
}

TEST(SampleTest, SurvivesTheExtremesOfFloat) {
  constexpr float kMost = std::numeric_limits<float>::max();
  const std::vector<float> logits = {-kMost, kMost, 0};
  const SampledToken sampled = Sample(logits, DrawingRow({.temperature = 2e-5F}));
  EXPECT_TRUE(sampled.finite);
  EXPECT_EQ(sampled.token, 1);
  EXPECT_EQ(sampled.logprob, 0);
  EXPECT_EQ(Sample(std::vector<float>{5}, DrawingRow({.temperature = 100})).token, 0);
}

TEST(SampleTest, IsAFunctionOfSeedSequenceAndDrawAlone) {
  const std::vector<float> logits = RandomLogits(1000, 1, 3);
  SampleRow row = DrawingRow({.temperature = 1, .seed = 11});
  row.sequence = 2;
  row.draw = 5;
  const int32_t token = Sample(logits, row).token;
  EXPECT_EQ(Sample(logits, row).token, token);
  // Each of the three decides: over 20 changes the token must move.
  int moved_by_seed = 0;
  int moved_by_sequence = 0;
  int moved_by_draw = 0;
  for (uint32_t i = 1; i <= 20; ++i) {
    SampleRow other = row;
    other.params.seed += i;
    moved_by_seed += Sample(logits, other).token != token ? 1 : 0;
    other = row;
    other.sequence += i;
    moved_by_sequence += Sample(logits, other).token != token ? 1 : 0;
    other = row;
    other.draw += i;
    moved_by_draw += Sample(logits, other).token != token ? 1 : 0;
  }
  EXPECT_GT(moved_by_seed, 15);
  EXPECT_GT(moved_by_sequence, 15);
  EXPECT_GT(moved_by_draw, 15);
}

// A plan whose only sample has the biases and the history given.
StepPlan AdjustingPlan(const SamplingParams& params, std::vector<int32_t> bias_tokens,
                       std::vector<float> bias_values, std::vector<int32_t> history_tokens,
                       std::vector<int32_t> history_counts) {
  StepPlan plan;
  SampleRow row = DrawingRow(params);
  row.biases.count = static_cast<int32_t>(bias_tokens.size());
  row.history.count = static_cast<int32_t>(history_tokens.size());
  plan.bias_tokens = std::move(bias_tokens);
  plan.bias_values = std::move(bias_values);
  plan.history_tokens = std::move(history_tokens);
  plan.history_counts = std::move(history_counts);
  plan.samples = {row};
  return plan;
}

int32_t Chosen(const std::vector<float>& logits, const StepPlan& plan) {
  return Sample(logits, plan, plan.samples[0]).token;
}

TEST(SampleTest, AddsBiasesBeforeItPenalises) {
  // 3 - 4 = -1, times 2; the other way round it would be 3 / 2 - 4.
  StepPlan plan = AdjustingPlan({.repetition_penalty = 2}, {0}, {-4}, {0}, {0});
  EXPECT_EQ(Chosen({3, -1.9F}, plan), 1);
  EXPECT_EQ(Chosen({3, -2.1F}, plan), 0);
}

TEST(SampleTest, PenalisesRepetitionOfPromptAndCompletionButTheRestOfTheCompletionAlone) {
  // Token 0 is the prompt's alone, token 1 came twice.
  StepPlan plan = AdjustingPlan({.repetition_penalty = 2}, {}, {}, {0, 1}, {0, 2});
  EXPECT_EQ(Chosen({6, 6, 3.1F}, plan), 2);
  EXPECT_EQ(Chosen({6, 6, 2.9F}, plan), 0);
  plan.samples[0].params = {.frequency_penalty = 1};
  EXPECT_EQ(Chosen({4, 6.1F, 0}, plan), 1);
  EXPECT_EQ(Chosen({4, 5.9F, 0}, plan), 0);
  plan.samples[0].params = {.presence_penalty = 1};
  EXPECT_EQ(Chosen({4, 5.1F, 0}, plan), 1);
  EXPECT_EQ(Chosen({4, 4.9F, 0}, plan), 0);
  plan.samples[0].params = {};  // the history is there, the penalties are off
  EXPECT_EQ(Chosen({4, 4.9F, 0}, plan), 1);
}

TEST(SampleTest, ReportsLogProbabilitiesOfWhatWasGivenWhateverIsAdjusted) {
  const std::vector<float> logits = {3, 2, 1};
  StepPlan plan = AdjustingPlan({}, {2}, {100}, {}, {});
  plan.samples[0].num_logprobs = 1;
  const SampledToken sampled = Sample(logits, plan, plan.samples[0]);
  EXPECT_EQ(sampled.token, 2);
  EXPECT_THAT(sampled.top_tokens, ElementsAre(0));
  SampleRow scored;
  scored.target = 2;
  scored.num_logprobs = 1;
  EXPECT_EQ(sampled.logprob, Sample(logits, scored).logprob);
  EXPECT_EQ(sampled.top_logprobs, Sample(logits, scored).top_logprobs);
}

TEST(SampleTest, DrawsOnlyWhatTheMaskHolds) {
  const std::vector<float> logits = RandomLogits(70, 1, 9);
  StepPlan plan;
  plan.masks = {0, 1U << 31, 1U << 5};  // tokens 63 and 69
  SampleRow row = DrawingRow({.temperature = 1});
  row.mask = 0;
  std::array<int, 70> counts{};
  for (row.draw = 0; row.draw < 200; ++row.draw) ++counts[Sample(logits, plan, row).token];
  EXPECT_EQ(counts[63] + counts[69], 200);
  EXPECT_GT(counts[63], 0);
  EXPECT_GT(counts[69], 0);
  row.params.temperature = 0;
  EXPECT_EQ(Sample(logits, plan, row).token, logits[63] >= logits[69] ? 63 : 69);
}

TEST(SampleTest, SaysThatBansLeftNothing) {
  for (const float temperature : {0.0F, 1.0F}) {
    StepPlan plan = AdjustingPlan({.temperature = temperature, .top_p = 0.9F}, {0, 1},
                                  {-kInfinity, -kInfinity}, {}, {});
    plan.samples[0].num_logprobs = 1;
    const SampledToken sampled = Sample(std::vector<float>{1, 2}, plan, plan.samples[0]);
    EXPECT_FALSE(sampled.finite);
    EXPECT_TRUE(sampled.all_banned);
    // NaN is the model's fault, bans or not.
    EXPECT_FALSE(Sample(std::vector<float>{kNan, 2}, plan, plan.samples[0]).all_banned);
    plan.bias_values[1] = -100;  // is no ban
    EXPECT_EQ(Chosen({1, 2}, plan), 1);
  }
}

TEST(SampleTest, ClampsWhatBiasesAndPenaltiesOverflow) {
  constexpr float kMost = std::numeric_limits<float>::max();
  const StepPlan plan = AdjustingPlan({.temperature = 1, .repetition_penalty = 10}, {0, 1},
                                      {kMost, -kMost}, {1}, {1});
  const SampledToken sampled = Sample(std::vector<float>{kMost, -kMost}, plan, plan.samples[0]);
  EXPECT_TRUE(sampled.finite);
  EXPECT_EQ(sampled.token, 0);
}

// Draws must follow FilteredProbabilities. The bound is mean + 6 standard deviations of a
// chi-square.
TEST(SampleTest, DrawsFromTheFilteredDistribution) {
  constexpr int kDraws = 40'000;
  const std::vector<float> logits = RandomLogits(40, 1, 5);
  for (const SamplingParams& params :
       {SamplingParams{.temperature = 1, .seed = 1}, SamplingParams{.temperature = 2, .seed = 2},
        SamplingParams{.temperature = 1, .top_k = 8, .seed = 3},
        SamplingParams{.temperature = 0.8F, .top_p = 0.7F, .seed = 4},
        SamplingParams{.temperature = 1.2F, .min_p = 0.1F, .seed = 5}}) {
    const std::vector<float> probabilities = FilteredProbabilities(logits, params);
    std::vector<int> counts(logits.size());
    SampleRow row = DrawingRow(params);
    for (row.draw = 0; row.draw < kDraws; ++row.draw) ++counts[Sample(logits, row).token];
    SCOPED_TRACE(params.seed);
    ExpectDrawnFrom(probabilities, counts, /*least_bins=*/3);
  }
}

// The definition, by sorting everything; slow and plain.
std::vector<bool> ReferenceSupport(const std::vector<float>& logits, const SamplingParams& params) {
  std::vector<size_t> order(logits.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return logits[a] > logits[b]; });
  const auto weight = [&](size_t id) {
    return std::exp((static_cast<double>(logits[id]) - static_cast<double>(logits[order[0]])) /
                    static_cast<double>(params.temperature));
  };
  std::vector<size_t> kept;
  for (size_t rank = 0; rank < order.size(); ++rank) {
    const bool by_min_p = weight(order[rank]) >= static_cast<double>(params.min_p);
    const size_t k = params.top_k == 0 ? order.size() : static_cast<size_t>(params.top_k);
    const bool by_top_k = rank < k || logits[order[rank]] == logits[order[k - 1]];
    if (by_min_p && by_top_k) kept.push_back(order[rank]);
  }
  double total = 0;
  for (const size_t id : kept) total += weight(id);
  std::vector<bool> support(logits.size());
  double before = 0;
  for (const size_t id : kept) {
    if (params.top_p < 1 && before >= static_cast<double>(params.top_p) * total) break;
    support[id] = true;
    before += weight(id);
  }
  return support;
}

TEST(FilteredProbabilitiesTest, AgreesWithTheDefinitionOnRandomRows) {
  std::mt19937_64 random(6);
  const auto pick = [&](auto choices) { return choices[random() % choices.size()]; };
  for (uint64_t seed = 0; seed < 300; ++seed) {
    const size_t size = pick(std::array<size_t, 6>{1, 2, 17, 300, 2000, 5000});
    std::vector<float> logits = RandomLogits(size, pick(std::array{0.1F, 1.0F, 2.0F}), seed);
    if (seed % 3 == 0) {  // many ties
      for (float& logit : logits) logit = std::round(logit);
    }
    const SamplingParams params{
        .temperature = pick(std::array{0.5F, 1.0F, 2.5F}),
        .top_k = pick(std::array{0, 0, 1, 5, 100, 700, 10'000}),
        .top_p = pick(std::array{1.0F, 1.0F, 0.99F, 0.9F, 0.5F, 0.05F}),
        .min_p = pick(std::array{0.0F, 0.0F, 0.01F, 0.3F, 1.0F}),
    };
    const std::vector<float> probabilities = FilteredProbabilities(logits, params);
    const std::vector<bool> expected = ReferenceSupport(logits, params);
    const std::string where =
        testing::PrintToString(seed) + " size " + testing::PrintToString(size);
    double sum = 0;
    for (size_t id = 0; id < size; ++id) {
      ASSERT_EQ(probabilities[id] > 0, expected[id]) << "seed " << where << " id " << id;
      sum += static_cast<double>(probabilities[id]);
    }
    ASSERT_NEAR(sum, 1, 1e-4) << "seed " << where;
  }
}

struct BadParams {
  std::string name;
  SamplingParams params;
  std::string field;
};
class RefusesBadParams : public testing::TestWithParam<BadParams> {};

TEST_P(RefusesBadParams, NamingTheField) {
  EXPECT_THAT(ValidateSamplingParams(GetParam().params),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(GetParam().field)));
}

INSTANTIATE_TEST_SUITE_P(
    Sampling, RefusesBadParams,
    testing::Values(BadParams{"TemperatureNan", {.temperature = kNan}, "temperature"},
                    BadParams{"TemperatureInfinite", {.temperature = kInfinity}, "temperature"},
                    BadParams{"TemperatureNegative", {.temperature = -0.1F}, "got -0.1"},
                    BadParams{"TemperatureHuge", {.temperature = 100.5F}, "0 to 100"},
                    BadParams{"TopKNegative", {.top_k = -1}, "top_k"},
                    BadParams{"TopPZero", {.top_p = 0}, "top_p"},
                    BadParams{"TopPNan", {.top_p = kNan}, "top_p"},
                    BadParams{"TopPAboveOne", {.top_p = 1.01F}, "top_p"},
                    BadParams{"MinPNegative", {.min_p = -0.01F}, "min_p"},
                    BadParams{"MinPNan", {.min_p = kNan}, "min_p"},
                    BadParams{"MinPAboveOne", {.min_p = 1.5F}, "min_p"},
                    BadParams{"RepetitionZero", {.repetition_penalty = 0}, "repetition_penalty"},
                    BadParams{"RepetitionNan", {.repetition_penalty = kNan}, "repetition_penalty"},
                    BadParams{"RepetitionHuge", {.repetition_penalty = 10.5F}, "at most 10"},
                    BadParams{"FrequencyNan", {.frequency_penalty = kNan}, "frequency_penalty"},
                    BadParams{"FrequencyLow", {.frequency_penalty = -2.1F}, "from -2 to 2"},
                    BadParams{"PresenceHigh", {.presence_penalty = 2.1F}, "presence_penalty"},
                    BadParams{
                        "PresenceInfinite", {.presence_penalty = -kInfinity}, "presence_penalty"}),
    [](const auto& bad) { return bad.param.name; });

TEST(ValidateSamplingParamsTest, AcceptsTheLimitsAndTheDefaults) {
  EXPECT_OK(ValidateSamplingParams({}));
  EXPECT_OK(ValidateSamplingParams({.temperature = 100, .top_k = 1, .top_p = 1, .min_p = 1}));
  EXPECT_OK(ValidateSamplingParams({.temperature = 1e-30F, .top_p = 1e-30F}));
  EXPECT_OK(ValidateSamplingParams(
      {.repetition_penalty = 10, .frequency_penalty = -2, .presence_penalty = 2}));
}

}  // namespace
}  // namespace trireme
