// exp and log with the same bits on every machine. The C library picks its variant by the processor
// (with FMA or without), and those differ in the last place now and then: enough to choose another
// token once in a long while, or to print another log-probability. These use only additions,
// multiplications and divisions, which IEEE 754 rounds alike everywhere; mass_kernel.h does the
// exponential for many numbers at once.
#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace trireme {

inline constexpr double kLog2E = 0x1.71547652b82fep+0;
// ln 2 in two parts; the first has enough trailing zeros that its product with any exponent is
// exact.
inline constexpr double kLn2High = 0x1.62e42feep-1;
inline constexpr double kLn2Low = 0x1.a39ef35793c76p-33;
// Adding 1.5 * 2^52 leaves the nearest integer in the low bits of the sum.
inline constexpr double kRoundToWhole = 0x1.8p52;
inline constexpr double kSmallestExponent = -708;
// The power series of e^r for |r| <= ln(2) / 2, from the last term; the first left out is below
// 2^-57.
inline constexpr std::array<double, 14> kExpSeries = {1.0 / 6227020800,
                                                      1.0 / 479001600,
                                                      1.0 / 39916800,
                                                      1.0 / 3628800,
                                                      1.0 / 362880,
                                                      1.0 / 40320,
                                                      1.0 / 5040,
                                                      1.0 / 720,
                                                      1.0 / 120,
                                                      1.0 / 24,
                                                      1.0 / 6,
                                                      0.5,
                                                      1.0,
                                                      1.0};

// e^x for x <= 0, within 2 units in the last place; 0 below -708, where doubles become subnormal.
inline double PortableExp(double x) {
  const double clamped = x < kSmallestExponent ? kSmallestExponent : x;
  const double shifted = clamped * kLog2E + kRoundToWhole;
  const double k = shifted - kRoundToWhole;
  const double r = (clamped - k * kLn2High) - k * kLn2Low;
  double sum = kExpSeries[0];
  for (size_t term = 1; term < kExpSeries.size(); ++term) sum = sum * r + kExpSeries[term];
  const auto exponent = (std::bit_cast<uint64_t>(shifted) + 1023) << 52;
  const double scaled = sum * std::bit_cast<double>(exponent);
  return x < kSmallestExponent ? 0.0 : scaled;
}

// ln x for finite x > 0, within 2 units in the last place; exactly 0 for 1.
inline double PortableLog(double x) {
  constexpr double kSqrtHalf = 0x1.6a09e667f3bcdp-1;
  constexpr int kTerms = 11;

  int exponent = 0;
  double m = std::frexp(x, &exponent);  // in [1/2, 1)
  if (m < kSqrtHalf) {
    m *= 2;
    --exponent;
  }
  // ln m = 2 atanh s, |s| <= 0.172: the first term left out is below 2^-58 of the sum.
  const double s = (m - 1) / (m + 1);
  const double square = s * s;
  double series = 0;
  for (int term = kTerms; term >= 1; --term) series = (series + 1.0 / (2 * term + 1)) * square;
  const double k = exponent;
  return k * kLn2High + (k * kLn2Low + (2 * s + 2 * s * series));
}

}  // namespace trireme
