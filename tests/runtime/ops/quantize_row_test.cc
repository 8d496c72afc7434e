#include "runtime/ops/quantize_row.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "gtest/gtest.h"
#include "runtime/ops/decode_row.h"
#include "runtime/ops/scalar_math.h"
#include "tests/runtime/ops/samples.h"

namespace trireme {
namespace {

constexpr int64_t kBlock = 32;

std::vector<std::byte> Quantized(DType dtype, const std::vector<float>& values) {
  std::vector<std::byte> out(
      static_cast<size_t>(RowBytes(dtype, static_cast<int64_t>(values.size()))));
  EXPECT_EQ(QuantizeRow(dtype, values, out), std::nullopt);
  return out;
}

std::vector<float> RoundTrip(DType dtype, const std::vector<float>& values) {
  std::vector<float> decoded(values.size());
  DecodeRow(dtype, Quantized(dtype, values).data(), {0, static_cast<int64_t>(values.size())},
            decoded);
  return decoded;
}

std::vector<float> Normal(uint64_t seed, size_t count, float deviation, float mean = 0) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> draw(mean, deviation);
  std::vector<float> values(count);
  std::ranges::generate(values, [&] { return draw(random); });
  return values;
}

double SquaredError(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double difference = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    sum += difference * difference;
  }
  return sum;
}

// Of the best of many scales and minima in double arithmetic, for one block.
double BestSquaredError(const std::vector<float>& x) {
  const auto [least, greatest] = std::ranges::minmax(x);
  const double range = static_cast<double>(greatest) - static_cast<double>(least);
  double best = std::numeric_limits<double>::max();
  for (int i = 0; i <= 120; ++i) {
    const double scale = range / (13 + 0.05 * i);
    for (int j = -20; j <= 40; ++j) {
      const double minimum = static_cast<double>(least) + scale * 0.05 * j;
      double sum = 0;
      for (const float value : x) {
        const double step = std::clamp(std::nearbyint((value - minimum) / scale), 0.0, 15.0);
        const double difference = value - (minimum + scale * step);
        sum += difference * difference;
      }
      best = std::min(best, sum);
    }
  }
  return best;
}

TEST(QuantizeRowTest, Q8IsTheNearestStepOfALargestOver127) {
  const std::vector<float> x = Normal(1, 64 * kBlock, 0.02F);
  const std::vector<float> decoded = RoundTrip(DType::kQ8_0, x);
  for (size_t block = 0; block < x.size(); block += kBlock) {
    double largest = 0;
    for (size_t i = block; i < block + kBlock; ++i) {
      largest = std::max(largest, std::abs(static_cast<double>(x[i])));
    }
    const double scale = HalfToFloat(FloatToHalf(static_cast<float>(largest / 127)));
    for (size_t i = block; i < block + kBlock; ++i) {
      const double step = std::clamp(std::nearbyint(x[i] / scale), -127.0, 127.0);
      // Where a value lies between two steps, fp32 may choose the other one.
      EXPECT_LE(std::abs(decoded[i] - x[i]), std::abs(scale * step - x[i]) + 1e-5 * scale);
    }
  }
}

TEST(QuantizeRowTest, Q4IsNearlyTheBestThatThereIs) {
  double ours = 0;
  double best = 0;
  for (uint64_t seed = 0; seed < 24; ++seed) {
    const std::vector<float> x = Normal(seed, kBlock, 0.02F, seed % 3 == 0 ? 0.05F : 0);
    const double error = SquaredError(x, RoundTrip(DType::kQ4_1, x));
    ours += error;
    best += BestSquaredError(x);
  }
  EXPECT_LT(ours, 1.03 * best);
}

TEST(QuantizeRowTest, WhatIsOnStepsAlreadyStaysAsItIs) {
  for (const DType dtype : {DType::kQ8_0, DType::kQ4_1}) {
    const std::vector<float> once = RoundTrip(dtype, Normal(3, 256 * kBlock, 0.5F));
    const std::vector<float> twice = RoundTrip(dtype, once);
    // Blocks that do not reach their last step have another scale; they are few.
    size_t changed = 0;
    for (size_t i = 0; i < once.size(); ++i) changed += std::abs(once[i] - twice[i]) > 2e-3F;
    EXPECT_LT(changed, once.size() / 20) << Name(dtype);
  }
}

TEST(QuantizeRowTest, EqualValuesStayEqual) {
  for (const float value : {0.0F, -0.0F, 1.0F, -0.375F, 1024.0F, 0x1p-24F}) {
    const std::vector<float> x(kBlock, value);
    EXPECT_EQ(RoundTrip(DType::kQ4_1, x), x) << value;
  }
  EXPECT_EQ(RoundTrip(DType::kQ8_0, std::vector<float>(kBlock, 0)), std::vector<float>(kBlock, 0));
}

TEST(QuantizeRowTest, SmallAndLargeValuesStayWithinAStep) {
  for (const float unit :
       {std::numeric_limits<float>::denorm_min(), 1e-30F, 0x1p-24F, 1e-6F, 1e-3F, 1.0F, 4000.0F}) {
    std::vector<float> x(kBlock);
    for (size_t i = 0; i < x.size(); ++i) x[i] = unit * (static_cast<float>(i) - 16.0F);
    for (const DType dtype : {DType::kQ8_0, DType::kQ4_1}) {
      const std::vector<float> decoded = RoundTrip(dtype, x);
      // fp16 rounds scale and minimum to multiples of 2^-24 below 2^-14.
      const double step = static_cast<double>(unit) * 31 / 15 * 0.6 + 16 * 0x1p-24;
      for (size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(decoded[i], x[i], step) << Name(dtype);
    }
  }
}

TEST(QuantizeRowTest, ABlockDependsOnItsOwnValuesOnly) {
  const std::vector<float> x = Normal(4, 8 * kBlock, 1);
  for (const DType dtype : {DType::kQ8_0, DType::kQ4_1}) {
    const std::vector<std::byte> together = Quantized(dtype, x);
    std::vector<std::byte> apart;
    for (size_t block = 0; block < x.size(); block += kBlock) {
      const auto begin = x.begin() + static_cast<std::ptrdiff_t>(block);
      const auto bytes = Quantized(dtype, std::vector<float>(begin, begin + kBlock));
      apart.insert(apart.end(), bytes.begin(), bytes.end());
    }
    EXPECT_EQ(together, apart);
  }
}

TEST(QuantizeRowTest, TellsWhichValueHasNoPlace) {
  for (const DType dtype : {DType::kQ8_0, DType::kQ4_1}) {
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(),
                            std::numeric_limits<float>::infinity(), -1e30F}) {
      std::vector<float> x(3 * kBlock, 0.5F);
      x[71] = bad;
      std::vector<std::byte> out(static_cast<size_t>(RowBytes(dtype, 3 * kBlock)));
      EXPECT_EQ(QuantizeRow(dtype, x, out), std::optional<size_t>(71)) << Name(dtype) << bad;
    }
  }
}

}  // namespace
}  // namespace trireme
