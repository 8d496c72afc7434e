#include "runtime/model/rope_table.h"

#include <gtest/gtest.h>

#include <cmath>

namespace trireme {
namespace {

TEST(RopeTable, FrequenciesFallGeometrically) {
  const auto frequencies = RopeFrequencies({.theta = 10'000}, 8, {});
  ASSERT_EQ(frequencies.size(), 4U);
  EXPECT_FLOAT_EQ(frequencies[0], 1.0F);
  EXPECT_FLOAT_EQ(frequencies[1], 0.1F);
  EXPECT_FLOAT_EQ(frequencies[3], 0.001F);
}

TEST(RopeTable, ScalingKeepsHighAndDividesLowFrequencies) {
  const RopeConfig rope{
      .theta = 500'000,
      .scaling = RopeScaling{
          .factor = 8, .low_freq_factor = 1, .high_freq_factor = 4, .original_max_positions = 64}};
  const auto plain = RopeFrequencies({.theta = 500'000}, 32, {});
  const auto scaled = RopeFrequencies(rope, 32, {});
  EXPECT_EQ(scaled.front(), plain.front());
  EXPECT_FLOAT_EQ(scaled.back(), plain.back() / 8);
  for (size_t i = 0; i < plain.size(); ++i) {
    EXPECT_LE(scaled[i], plain[i]);
    EXPECT_GE(scaled[i], plain[i] / 8 * 0.999F);
  }
}

// Scout's config has both factors equal: a blend would divide by zero.
TEST(RopeTable, EqualFactorsStayFinite) {
  const RopeConfig rope{.theta = 500'000,
                        .scaling = RopeScaling{.factor = 16,
                                               .low_freq_factor = 1,
                                               .high_freq_factor = 1,
                                               .original_max_positions = 8192}};
  for (const float frequency : RopeFrequencies(rope, 128, {})) {
    EXPECT_TRUE(std::isfinite(frequency) && frequency > 0);
  }
}

TEST(RopeTable, DivisorsDivide) {
  const std::vector<float> divisors{1, 2, 4, 8};
  const auto plain = RopeFrequencies({}, 8, {});
  const auto divided = RopeFrequencies({}, 8, divisors);
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(divided[i], plain[i] / divisors[i]);
}

TEST(RopeTable, HoldsCosineAndSineOfEachAngle) {
  const std::vector<float> frequencies{1.0F, 0.01F};
  const RopeTable table = MakeRopeTable(frequencies, 100);
  EXPECT_FLOAT_EQ(table.cos.view().row_as<float>(0)[1], 1.0F);
  EXPECT_FLOAT_EQ(table.sin.view().row_as<float>(99)[0], std::sin(99.0F));
  EXPECT_FLOAT_EQ(table.cos.view().row_as<float>(99)[1], std::cos(0.99F));
}

}  // namespace
}  // namespace trireme
