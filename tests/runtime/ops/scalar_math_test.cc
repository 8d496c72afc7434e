#include "runtime/ops/scalar_math.h"

#include <bit>
#include <cmath>
#include <limits>
#include <random>

#include "gtest/gtest.h"

namespace trireme {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Distance in units of the last place of the exact value's binade (of the smallest normal below
// it).
double UlpError(float value, double exact) {
  const int exponent = std::max(std::ilogb(exact), -126);
  return std::abs(static_cast<double>(value) - exact) / std::ldexp(1.0, exponent - 23);
}

TEST(Exp, IsWithinOneUlpOverTheWholeRange) {
  double worst = 0;
  for (float x = -87.3f; x < 88.72f; x += 0.00037f) {
    worst = std::max(worst, UlpError(Exp(x), std::exp(static_cast<double>(x))));
  }
  std::mt19937 random(5);
  std::uniform_real_distribution<float> near_zero(-1e-3f, 1e-3f);
  for (int i = 0; i < 100000; ++i) {
    const float x = near_zero(random);
    worst = std::max(worst, UlpError(Exp(x), std::exp(static_cast<double>(x))));
  }
  EXPECT_LE(worst, 1.0);
}

TEST(Exp, GivesSubnormalsBeforeItGivesZero) {
  for (float x = -103.9f; x < -87.3f; x += 0.01f) {
    const float value = Exp(x);
    EXPECT_GT(value, 0.0f) << x;
    EXPECT_LE(UlpError(value, std::exp(static_cast<double>(x))), 1.0) << x;
  }
}

TEST(Exp, HandlesTheEnds) {
  EXPECT_EQ(Exp(0.0f), 1.0f);
  EXPECT_EQ(Exp(-0.0f), 1.0f);
  EXPECT_EQ(Exp(-kInfinity), 0.0f);
  EXPECT_EQ(Exp(-1e30f), 0.0f);
  EXPECT_EQ(Exp(-105.0f), 0.0f);
  EXPECT_FALSE(std::signbit(Exp(-kInfinity)));
  EXPECT_EQ(Exp(kInfinity), kInfinity);
  EXPECT_EQ(Exp(1e30f), kInfinity);
  EXPECT_EQ(Exp(88.73f), kInfinity);
  EXPECT_LT(Exp(88.72f), kInfinity);
  EXPECT_TRUE(std::isnan(Exp(std::numeric_limits<float>::quiet_NaN())));
}

TEST(Exp, NeverDecreases) {
  float previous = 0;
  for (float x = -104.5f; x < 88.7f; x = std::nextafter(x + 1e-4f, kInfinity)) {
    const float value = Exp(x);
    EXPECT_GE(value, previous * (1 - 2e-7f)) << x;
    previous = value;
  }
}

// The value of a binary16 by its definition.
double HalfByDefinition(uint16_t half) {
  const int exponent = (half >> 10) & 31;
  const int mantissa = half & 1023;
  const double magnitude =
      exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  return (half & 0x8000) != 0 ? -magnitude : magnitude;
}

bool IsFiniteHalf(uint16_t half) { return ((half >> 10) & 31) != 31; }

TEST(Half, EveryFiniteValueIsExactAndComesBack) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    if (!IsFiniteHalf(half)) continue;
    const float value = HalfToFloat(half);
    EXPECT_EQ(static_cast<double>(value), HalfByDefinition(half)) << bits;
    EXPECT_EQ(FloatToHalf(value), half) << bits;
  }
}

TEST(Half, RoundsToTheNearestAndTiesToEven) {
  for (uint16_t half = 0; half < 0x7BFF; ++half) {
    const auto next = static_cast<uint16_t>(half + 1);
    const float low = HalfToFloat(half);
    const float high = HalfToFloat(next);
    const float middle = low + (high - low) / 2;  // exact: one bit more than a half has
    const uint16_t even = half % 2 == 0 ? half : next;
    EXPECT_EQ(FloatToHalf(middle), even) << half;
    EXPECT_EQ(FloatToHalf(std::nextafter(middle, 0.0f)), half) << half;
    EXPECT_EQ(FloatToHalf(std::nextafter(middle, kInfinity)), next) << half;
    EXPECT_EQ(FloatToHalf(-middle), even | 0x8000) << half;
  }
}

TEST(Half, OverflowsToInfinityAndKeepsNan) {
  EXPECT_EQ(FloatToHalf(65519.9f), 0x7BFF);
  EXPECT_EQ(FloatToHalf(65520.0f), 0x7C00);
  EXPECT_EQ(FloatToHalf(-kInfinity), 0xFC00);
  EXPECT_EQ(FloatToHalf(1e-30f), 0);
  EXPECT_EQ(FloatToHalf(-1e-30f), 0x8000);
  EXPECT_EQ(HalfToFloat(0x7C00), kInfinity);
  EXPECT_EQ(HalfToFloat(0xFC00), -kInfinity);
  EXPECT_TRUE(std::isnan(HalfToFloat(0x7C01)));
  EXPECT_TRUE(std::isnan(HalfToFloat(FloatToHalf(std::nanf("")))));
}

TEST(BFloat16, IsTheUpperHalfOfAFloat) {
  EXPECT_EQ(BFloat16ToFloat(0x3F80), 1.0f);
  EXPECT_EQ(BFloat16ToFloat(0xC040), -3.0f);
  EXPECT_EQ(BFloat16ToFloat(0x7F80), kInfinity);
}

TEST(F8E4M3, FollowsItsDefinition) {
  for (int bits = 0; bits < 128; ++bits) {
    const auto byte = static_cast<uint8_t>(bits);
    if (bits == 0x7F) {
      EXPECT_TRUE(std::isnan(F8E4M3ToFloat(byte)));
      continue;
    }
    const int exponent = bits >> 3;
    const int mantissa = bits & 7;
    const double expected =
        exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
    EXPECT_EQ(static_cast<double>(F8E4M3ToFloat(byte)), expected) << bits;
    EXPECT_EQ(static_cast<double>(F8E4M3ToFloat(byte | 0x80)), -expected) << bits;
  }
  EXPECT_EQ(F8E4M3ToFloat(0x7E), 448.0f);
}

TEST(Q8, RoundsToWithinHalfAStepOfTheLargestValue) {
  std::mt19937 random(7);
  for (int exponent = -12; exponent <= 22; ++exponent) {
    const float largest = std::ldexp(std::uniform_real_distribution<float>(1, 2)(random), exponent);
    const Q8Scale scale = ScaleOfQ8(largest);
    const float d = HalfToFloat(scale.half);
    // The half is within 2^-11 of largest / 127, or its subnormal step.
    EXPECT_NEAR(d * 127, largest, std::max(largest * 0x1p-11f, 127 * 0x1p-25f)) << largest;
    EXPECT_FLOAT_EQ(scale.inverse * d, 1.0f);
  }
}

TEST(Q8, HandlesTheEnds) {
  EXPECT_EQ(ScaleOfQ8(0).half, 0);
  EXPECT_EQ(ScaleOfQ8(0).inverse, 0);
  EXPECT_EQ(ScaleOfQ8(1e-41f).half, 0);
  EXPECT_EQ(HalfToFloat(ScaleOfQ8(3e38f).half), 65504.0f);
  for (const float bad : {kInfinity, std::numeric_limits<float>::quiet_NaN()}) {
    EXPECT_TRUE(std::isnan(HalfToFloat(ScaleOfQ8(bad).half)));
    EXPECT_EQ(ScaleOfQ8(bad).inverse, 0);
  }
}

}  // namespace
}  // namespace trireme
