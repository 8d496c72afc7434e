// The arithmetic that every backend must reproduce bit for bit, spelled out in scalars: conversions
// of the narrow floating-point formats, and the exponential. Nothing here calls libm except
// std::fma, which is one correctly rounded operation wherever it runs.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace trireme {

// IEEE binary16 to fp32, exact; a signalling NaN becomes quiet, as the processor's conversion does.
inline float HalfToFloat(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  const uint32_t exponent = (half >> 10) & 0x1Fu;
  const uint32_t mantissa = half & 0x3FFu;
  if (exponent == 0x1F) {
    const uint32_t quiet = mantissa == 0 ? 0 : 0x400000u;
    return std::bit_cast<float>(sign | 0x7F800000u | quiet | (mantissa << 13));
  }
  if (exponent == 0) {
    // Subnormal: mantissa * 2^-24, which fp32 holds exactly.
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
  }
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

// fp32 to IEEE binary16, nearest, ties to even; overflow gives infinity, NaN stays a (quiet) NaN.
inline uint16_t FloatToHalf(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  const uint32_t magnitude = bits & 0x7FFFFFFFu;
  if (magnitude > 0x7F800000u) {
    return static_cast<uint16_t>(sign | 0x7E00u | ((magnitude >> 13) & 0x3FFu));
  }
  if (magnitude >= 0x477FF000u) return static_cast<uint16_t>(sign | 0x7C00u);  // >= 65520
  if (magnitude < 0x38800000u) {
    // Below 2^-14. Adding 0.5 leaves the value in units of 2^-24 in the low bits, rounded once.
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3F000000u));
  }
  const uint32_t odd = (magnitude >> 13) & 1u;
  const uint32_t rounded = magnitude + 0xFFFu + odd;
  return static_cast<uint16_t>(sign | ((rounded - 0x38000000u) >> 13));
}

// bfloat16 is the upper half of an fp32.
inline float BFloat16ToFloat(uint16_t value) {
  return std::bit_cast<float>(static_cast<uint32_t>(value) << 16);
}

// F8 E4M3 in the variant without infinities ("fn"): bias 7, 0x7F and 0xFF are NaN, the largest is
// 448.
inline float F8E4M3ToFloat(uint8_t value) {
  const uint32_t sign = static_cast<uint32_t>(value & 0x80u) << 24;
  const uint32_t exponent = (value >> 3) & 0xFu;
  const uint32_t mantissa = value & 0x7u;
  if ((value & 0x7Fu) == 0x7Fu) return std::bit_cast<float>(sign | 0x7FC00000u);
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 0x1p-9f;
    return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
  }
  return std::bit_cast<float>(sign | ((exponent + 120) << 23) | (mantissa << 20));
}

// The scale of a Q8_0 block when values are stored in one: d = largest / 127 as a half (of at most
// 65504), and then q = value * (1 / d), held within ±127 and rounded to nearest, ties to even. The
// stored d divides, not the exact quotient, so that rounding d costs nothing. A block that holds a
// value which is not finite reads as NaN throughout: an error must not turn into a plausible
// number.
struct Q8Scale {
  uint16_t half;  // d
  float inverse;  // 1 / d; 0 where every q is 0
};

// `largest`: the greatest magnitude of the block; infinity or NaN where one of its values is.
inline Q8Scale ScaleOfQ8(float largest) {
  constexpr uint16_t kNaN = 0x7E00;
  constexpr uint16_t kLargestHalf = 0x7BFF;
  if (!(largest <= std::numeric_limits<float>::max())) return {kNaN, 0};
  const uint16_t half = std::min(FloatToHalf(largest / 127.0f), kLargestHalf);
  return {half, half == 0 ? 0.0f : 1.0f / HalfToFloat(half)};
}

// Constants of Exp, shared with the vector version. exp(x) = 2^n * exp(r), n = round(x / ln 2),
// |r| <= ln 2 / 2; exp(r) = 1 + r + r^2 * q(r) with q minimax of degree 4 (relative error 3.1e-9).
namespace exp_constants {
// Below the lower bound the result is +0, above the upper +inf; both come out of the steps by
// themselves.
inline constexpr float kLowest = -105.0f;
inline constexpr float kHighest = 89.0f;
inline constexpr float kLog2E = 0x1.715476p+0f;
// Adding 1.5 * 2^23 rounds to an integer (ties to even) and leaves it in the low bits.
inline constexpr float kRound = 12582912.0f;
inline constexpr float kLn2High = 0x1.62e43p-1f;
inline constexpr float kLn2Low = -0x1.05c61p-29f;
inline constexpr float kQ0 = 0x1.fffffcp-2f;
inline constexpr float kQ1 = 0x1.55549p-3f;
inline constexpr float kQ2 = 0x1.5558f4p-5f;
inline constexpr float kQ3 = 0x1.123a6cp-7f;
inline constexpr float kQ4 = 0x1.6a2352p-10f;
}  // namespace exp_constants

// e^x within 1 ulp for normal results (subnormal ones are rounded twice). Exp(0) = 1, Exp(-inf) =
// 0, Exp(inf) = inf, Exp(NaN) = NaN.
inline float Exp(float x) {
  using namespace exp_constants;  // NOLINT(google-build-using-namespace)
  x = x < kLowest ? kLowest : x;
  x = x > kHighest ? kHighest : x;
  const float shifted = std::fma(x, kLog2E, kRound);
  const float n = shifted - kRound;
  float r = std::fma(n, -kLn2High, x);
  r = std::fma(n, -kLn2Low, r);
  float q = std::fma(kQ4, r, kQ3);
  q = std::fma(q, r, kQ2);
  q = std::fma(q, r, kQ1);
  q = std::fma(q, r, kQ0);
  const float tail = std::fma(q, r * r, r);
  const float mantissa = 1.0f + tail;
  // 2^n in two factors, so that neither overflows and subnormal results round once.
  const auto exponent =
      static_cast<int32_t>(std::bit_cast<uint32_t>(shifted) - std::bit_cast<uint32_t>(kRound));
  const int32_t half = exponent >> 1;
  const auto power = [](int32_t e) {
    return std::bit_cast<float>((static_cast<uint32_t>(e) + 127u) << 23);
  };
  return (mantissa * power(half)) *
         power(static_cast<int32_t>(static_cast<uint32_t>(exponent) - static_cast<uint32_t>(half)));
}

}  // namespace trireme
