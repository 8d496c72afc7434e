// Walks over one shard's slice of a row: the work of sampling that grows with the vocabulary. Each
// is a loop that the compiler can vectorise, and none allocates.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "runtime/sampling/likelihood.h"

namespace trireme {

// Eight bits of steps at a time: how much there is in each of 256 ranges.
inline constexpr size_t kRanges = 256;
inline constexpr int kLevels = 4;
using Histogram = std::span<uint64_t, kRanges>;

// Some of a row's tokens by their steps: those whose upper bits are `prefix`, as far as a search by
// four levels of eight bits has come.
struct StepsPrefix {
  uint32_t prefix = 0;
  int level = 0;

  bool Holds(uint32_t steps) const { return level == 0 || steps >> (32 - 8 * level) == prefix; }
  size_t RangeOf(uint32_t steps) const { return (steps >> (24 - 8 * level)) & 0xff; }
};

// Tokens that a filter keeps: those of fewer steps than `cut`, and the first `ties` of just as
// many.
struct Kept {
  uint32_t cut = kMostSteps;
  uint64_t ties = ~uint64_t{0};
};

bool AllFinite(std::span<const float> logits);

// The most likely token that is not banned, or kNoCandidate. `first` is the first token's id.
Candidate Largest(std::span<const float> logits, int64_t first);

// The most likely ones, most likely first, as many as there is room; kNoCandidate fills the rest.
void LargestFew(std::span<const float> logits, int64_t first, std::span<Candidate> few);

// The sum of e^(logit - largest), as a mass.
uint64_t MassBelow(std::span<const float> logits, float largest);

// logits and steps may be the same memory.
void StepsOf(std::span<const float> logits, float largest, double steps_per_logit, uint32_t* steps);

// Of tokens of at most `cut` steps.
uint64_t MassUpTo(std::span<const uint32_t> steps, uint32_t cut);
// Adds, to the range of each token that `prefix` holds, one, or its mass if it has at most `cut`
// steps.
void AddCounts(std::span<const uint32_t> steps, const StepsPrefix& prefix, Histogram ranges);
void AddMasses(std::span<const uint32_t> steps, const StepsPrefix& prefix, uint32_t cut,
               Histogram ranges);

// The first token, as an index, at which the mass of those kept exceeds `point`, which is below the
// mass of all that are kept.
size_t TokenAt(std::span<const uint32_t> steps, const Kept& kept, uint64_t point);

}  // namespace trireme
