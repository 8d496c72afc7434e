// How likely tokens are, in whole numbers. Sums of whole numbers come out the same in any order, so
// a vocabulary may be cut into any slices, walked by any number of threads, and still have one
// answer.
//
//   candidate  a token and its logit in one word; the larger word is the more likely token
//   steps      how far a token lies below the most likely one: (largest - logit) / temperature in
//              units of 2^-27, rounded to the nearest and saturated at 2^32 - 1
//   mass       e^-(steps * 2^-27) in units of 2^-44, rounded to the nearest: the token's
//   probability
//              relative to the most likely token's
//
// Tokens of equal steps are equally likely. A token less likely than 2^-45 times the most likely
// one has no mass and is never drawn; below that, masses are off by 2^-45 at most.
#pragma once

#include <bit>
#include <cstdint>

#include "runtime/sampling/portable_math.h"

namespace trireme {

// The sum of so many masses fits 64 bits.
inline constexpr int64_t kMaxVocabulary = (int64_t{1} << 20) - 1;

using Candidate = uint64_t;
inline constexpr Candidate kNoCandidate = 0;

// Of a logit that is not NaN. Zeros are equal whatever their sign.
constexpr Candidate MakeCandidate(float logit, int32_t id) {
  const auto bits = std::bit_cast<uint32_t>(logit + 0.0F);
  const uint32_t ordered = (bits >> 31) != 0 ? ~bits : bits | 0x80000000U;
  return (uint64_t{ordered} << 32) | ~static_cast<uint32_t>(id);
}
constexpr int32_t IdOf(Candidate candidate) {
  return static_cast<int32_t>(~static_cast<uint32_t>(candidate));
}
constexpr float LogitOf(Candidate candidate) {
  const auto ordered = static_cast<uint32_t>(candidate >> 32);
  return std::bit_cast<float>((ordered >> 31) != 0 ? ordered & 0x7fffffffU : ~ordered);
}

inline constexpr double kStepsPerUnit = 0x1p27;
inline constexpr uint32_t kMostSteps = 0xffffffff;

// distance: of 0 or more, infinity included.
inline uint32_t ToSteps(double distance) {
  constexpr double kMost = kMostSteps;
  // The low bits of the sum are the nearest whole number.
  constexpr double kRound = 0x1p52;
  return static_cast<uint32_t>(
      std::bit_cast<uint64_t>((distance < kMost ? distance : kMost) + kRound));
}

// Of a temperature that is not greedy; exact where the temperature is a power of two.
inline double StepsPerLogit(float temperature) {
  return kStepsPerUnit / static_cast<double>(temperature);
}
inline uint32_t StepsBelow(float largest, float logit, double steps_per_logit) {
  return ToSteps((static_cast<double>(largest) - static_cast<double>(logit)) * steps_per_logit);
}

inline constexpr double kWholeMass = 0x1p44;
// Added to a mass, leaves its nearest whole number in the low bits of the sum.
inline constexpr double kMassRound = 0x1p52;

// From e^-(steps * 2^-27), which is at most 1.
inline uint64_t ToMass(double probability) {
  return std::bit_cast<uint64_t>(probability * kWholeMass + kMassRound) -
         std::bit_cast<uint64_t>(kMassRound);
}
inline double ExponentOf(uint32_t steps) { return -static_cast<double>(steps) / kStepsPerUnit; }
// Where no mass is left: e^-31.5 is below 2^-45.
inline constexpr uint32_t kNoMassSteps = static_cast<uint32_t>(31.5 * kStepsPerUnit);
inline uint64_t MassOf(uint32_t steps) { return ToMass(PortableExp(ExponentOf(steps))); }

}  // namespace trireme
