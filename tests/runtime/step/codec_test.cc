#include "runtime/step/codec.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

using testing::HasSubstr;

template <typename T>
std::vector<T> RandomVector(std::mt19937& random, size_t most) {
  std::vector<T> values(random() % (most + 1));
  for (T& value : values) value = static_cast<T>(random());
  return values;
}

StepPlan RandomPlan(std::mt19937& random) {
  StepPlan plan;
  plan.step = random();
  plan.stop = random() % 2 == 0;
  plan.report_loads = random() % 2 == 0;
  plan.tokens = RandomVector<int32_t>(random, 40);
  plan.positions = RandomVector<int32_t>(random, 40);
  plan.span_offsets = RandomVector<int32_t>(random, 9);
  plan.page_offsets = RandomVector<int32_t>(random, 9);
  plan.pages = RandomVector<int32_t>(random, 20);
  plan.chunk_page_offsets = RandomVector<int32_t>(random, 9);
  plan.chunk_pages = RandomVector<int32_t>(random, 20);
  plan.page_copies = RandomVector<int32_t>(random, 6);
  plan.chunk_page_copies = RandomVector<int32_t>(random, 6);
  plan.bias_tokens = RandomVector<int32_t>(random, 9);
  plan.bias_values = RandomVector<float>(random, 9);
  plan.history_tokens = RandomVector<int32_t>(random, 9);
  plan.history_counts = RandomVector<int32_t>(random, 9);
  plan.masks = RandomVector<uint32_t>(random, 9);
  plan.samples.resize(random() % 5);
  for (SampleRow& sample : plan.samples) {
    sample.row = static_cast<int32_t>(random());
    sample.target = static_cast<int32_t>(random());
    sample.num_logprobs = static_cast<int32_t>(random());
    sample.want_logits = random() % 2 == 0;
    sample.sequence = static_cast<uint32_t>(random());
    sample.draw = static_cast<uint32_t>(random());
    sample.biases = {static_cast<int32_t>(random()), static_cast<int32_t>(random())};
    sample.history = {static_cast<int32_t>(random()), static_cast<int32_t>(random())};
    sample.mask = static_cast<int32_t>(random());
    sample.params = {.temperature = static_cast<float>(random() % 100) / 50,
                     .top_k = static_cast<int32_t>(random() % 50),
                     .top_p = 0.9F,
                     .min_p = 0.1F,
                     .seed = (uint64_t{random()} << 32) | random(),
                     .repetition_penalty = 1.25F,
                     .frequency_penalty = static_cast<float>(random() % 100) / 50,
                     .presence_penalty = 0.5F};
  }
  return plan;
}

// Two plans are equal when they encode alike: the encoder writes every field.
std::vector<std::byte> Encoded(const StepPlan& plan) {
  std::vector<std::byte> bytes;
  EncodePlan(plan, bytes);
  return bytes;
}

TEST(Codec, PlansSurviveTheRoundTrip) {
  for (unsigned seed = 0; seed < 200; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const StepPlan plan = RandomPlan(random);
    const std::vector<std::byte> bytes = Encoded(plan);
    StepPlan decoded = RandomPlan(random);  // all of it is to be overwritten
    ASSERT_OK(DecodePlan(bytes, decoded));
    EXPECT_EQ(decoded.report_loads, plan.report_loads);
    EXPECT_EQ(decoded.tokens, plan.tokens);
    EXPECT_EQ(decoded.pages, plan.pages);
    EXPECT_EQ(decoded.chunk_page_offsets, plan.chunk_page_offsets);
    EXPECT_EQ(decoded.chunk_pages, plan.chunk_pages);
    EXPECT_EQ(decoded.page_copies, plan.page_copies);
    EXPECT_EQ(decoded.history_counts, plan.history_counts);
    EXPECT_EQ(decoded.masks, plan.masks);
    EXPECT_EQ(decoded.samples.size(), plan.samples.size());
    EXPECT_EQ(Encoded(decoded), bytes);
  }
}

TEST(Codec, LateMasksTravelByThemselves) {
  std::mt19937 random(3);
  StepPlan plan = RandomPlan(random);
  plan.late_masks = 2;
  plan.masks = {1, 2, 3, 4};
  StepPlan decoded = RandomPlan(random);
  ASSERT_OK(DecodePlan(Encoded(plan), decoded));
  EXPECT_EQ(decoded.late_masks, 2);
  EXPECT_TRUE(decoded.masks.empty());
  std::vector<std::byte> bytes;
  EncodeMasks(plan, bytes);
  ASSERT_OK(DecodeMasks(bytes, decoded));
  EXPECT_EQ(decoded.masks, plan.masks);
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(DecodeMasks(std::span(bytes).first(size), decoded).ok()) << size;
  }
  ++decoded.step;
  EXPECT_THAT(DecodeMasks(bytes, decoded),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("malformed masks of step")));
}

TEST(Codec, RefusesEveryTruncationAndTrailingBytes) {
  std::mt19937 random(7);
  std::vector<std::byte> bytes = Encoded(RandomPlan(random));
  StepPlan plan;
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(DecodePlan(std::span(bytes).first(size), plan).ok()) << size;
  }
  bytes.push_back(std::byte{0});
  EXPECT_THAT(DecodePlan(bytes, plan),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("malformed step plan")));
}

TEST(Codec, FlippedBytesNeverAllocateBeyondTheMessage) {
  std::mt19937 random(11);
  const std::vector<std::byte> bytes = Encoded(RandomPlan(random));
  for (size_t at = 0; at < bytes.size(); ++at) {
    std::vector<std::byte> damaged = bytes;
    damaged[at] = std::byte{0xff};
    StepPlan decoded;
    if (DecodePlan(damaged, decoded).ok()) {
      EXPECT_LE(decoded.tokens.size() * 4, bytes.size());
    }
  }
}

TEST(Codec, ResultsAndErrorsSurviveTheRoundTrip) {
  StepResult result;
  result.step = 9;
  result.samples.push_back({.token = 5,
                            .logprob = -0.25F,
                            .top_tokens = {5, 9},
                            .top_logprobs = {-0.25F, -1.5F},
                            .logits = {1, 2, 3},
                            .finite = false});
  result.expert_loads = {0, 1, int64_t{1} << 40};
  result.stage_times = {{.wait_us = 7, .compute_us = 8000}, {.wait_us = 9, .compute_us = 10}};
  std::vector<std::byte> bytes;
  EncodeResult(result, bytes);
  const auto decoded = DecodeResult(bytes);
  ASSERT_OK(decoded);
  ASSERT_EQ(decoded->samples.size(), 1U);
  EXPECT_EQ(decoded->step, 9U);
  EXPECT_EQ(decoded->samples[0].top_tokens, result.samples[0].top_tokens);
  EXPECT_EQ(decoded->samples[0].logits, result.samples[0].logits);
  EXPECT_FALSE(decoded->samples[0].finite);
  EXPECT_EQ(decoded->expert_loads, result.expert_loads);
  ASSERT_EQ(decoded->stage_times.size(), 2U);
  EXPECT_EQ(decoded->stage_times[0].compute_us, 8000U);
  EXPECT_EQ(decoded->stage_times[1].wait_us, 9U);

  EncodeResult(absl::DeadlineExceededError("rank 3 is late"), bytes);
  EXPECT_THAT(DecodeResult(bytes),
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("rank 3 is late")));
  EXPECT_FALSE(DecodeResult(std::span(bytes).first(bytes.size() - 1)).ok());
}

}  // namespace
}  // namespace trireme
