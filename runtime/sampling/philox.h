// Random numbers without state: a draw is a function of (seed, sequence, draw index) and of nothing
// else, so replaying a request on another group, in another batch or after a crash draws the same
// tokens.
//
// The function is Philox4x32-10: ten rounds of multiply, split and exchange over a 128-bit counter
// with a 64-bit key (Salmon, Moraes, Dror, Shaw: "Parallel Random Numbers: As Easy as 1, 2, 3", SC
// 2011, §3.3).
#pragma once

#include <array>
#include <cstdint>

namespace trireme {

// Four independent 32-bit words for each counter and key.
constexpr std::array<uint32_t, 4> Philox4x32(std::array<uint32_t, 4> counter,
                                             std::array<uint32_t, 2> key) {
  constexpr uint64_t kMultiplier0 = 0xD2511F53;
  constexpr uint64_t kMultiplier1 = 0xCD9E8D57;
  constexpr uint32_t kKeyStep0 = 0x9E3779B9;  // golden ratio
  constexpr uint32_t kKeyStep1 = 0xBB67AE85;  // sqrt(3) - 1
  constexpr int kRounds = 10;
  for (int round = 0; round < kRounds; ++round) {
    const uint64_t product0 = kMultiplier0 * counter[0];
    const uint64_t product1 = kMultiplier1 * counter[2];
    counter = {static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key[0],
               static_cast<uint32_t>(product1),
               static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key[1],
               static_cast<uint32_t>(product0)};
    key[0] += kKeyStep0;
    key[1] += kKeyStep1;
  }
  return counter;
}

// Uniform in [0, 1), a multiple of 2^-53: draw number `draw` of a sequence.
constexpr double UniformDraw(uint64_t seed, uint32_t sequence, uint32_t draw) {
  const std::array<uint32_t, 4> words = Philox4x32(
      {draw, sequence, 0, 0}, {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  const uint64_t bits = (uint64_t{words[1]} << 32) | words[0];
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

}  // namespace trireme
