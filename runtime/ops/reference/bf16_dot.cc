#include "runtime/ops/reference/bf16_dot.h"

#include <bit>
#include <cmath>
#include <cstdint>

namespace trireme {
namespace {

constexpr size_t kUnit = 32;
constexpr uint32_t kExponent = 0x7F800000;
constexpr uint32_t kSign = 0x80000000;

float Flush(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  return (bits & kExponent) == 0 ? std::bit_cast<float>(bits & kSign) : value;
}

// One rounding, to a result whose exponent has no lower bound, and then the flush: what rounds up
// to the least normal number from below is normal only if it would be with a longer mantissa too.
float FlushedFma(float a, float b, float c) {
  const float sum = std::fma(a, b, c);
  if (std::fabs(sum) != 0x1p-126f) return Flush(sum);
  // Scaled by 2^64 the same fma rounds as if the exponent were unbounded.
  const float scaled = std::fma(a * 0x1p32f, b * 0x1p32f, c * 0x1p64f);
  return std::fabs(scaled) < 0x1p-62f ? std::copysign(0.0f, sum) : sum;
}

}  // namespace

float RoundToBf16(float value) {
  auto bits = std::bit_cast<uint32_t>(Flush(value));
  if (std::isnan(value)) return std::bit_cast<float>((bits | 0x400000) & 0xFFFF0000);
  bits += 0x7FFF + ((bits >> 16) & 1);
  return std::bit_cast<float>(bits & 0xFFFF0000);
}

float Bf16Dot(std::span<const float> x, std::span<const float> w) {
  const auto product = [&](size_t i, float sum) {
    const float a = i < x.size() ? RoundToBf16(x[i]) : 0.0f;
    const float b = i < w.size() ? Flush(w[i]) : 0.0f;
    return FlushedFma(a, b, sum);
  };
  const size_t padded = (x.size() + kUnit - 1) / kUnit * kUnit;
  float sum = 0;
  for (size_t i = 0; i < padded; i += 2) sum = product(i, product(i + 1, sum));
  return sum;
}

}  // namespace trireme
