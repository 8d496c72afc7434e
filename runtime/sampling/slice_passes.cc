#include "runtime/sampling/slice_passes.h"

#include <algorithm>
#include <functional>
#include <limits>

#include "runtime/base/check.h"
#include "runtime/sampling/mass_kernel.h"

namespace trireme {
namespace {

constexpr size_t kPiece = 512;
constexpr float kBanned = -std::numeric_limits<float>::infinity();

// The largest, without its place: 16 lanes that vector units of any width can keep.
float LargestValue(std::span<const float> logits) {
  constexpr size_t kLanes = 16;
  std::array<float, kLanes> lanes;
  lanes.fill(kBanned);
  size_t i = 0;
  for (; i + kLanes <= logits.size(); i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const float logit = logits[i + lane];
      lanes[lane] = logit > lanes[lane] ? logit : lanes[lane];
    }
  }
  float largest = *std::max_element(lanes.begin(), lanes.end());
  for (; i < logits.size(); ++i) largest = std::max(largest, logits[i]);
  return largest;
}

using Exponents = std::array<double, kPiece>;
using Masses = std::array<uint64_t, kPiece>;
constexpr double kNothing = -1000;  // e^-1000 vanishes

// Of the first `count` exponents; those up to the next multiple of the vector's lanes are lost.
void MassesOfPiece(size_t count, Exponents& exponents, Masses& masses) {
  static_assert(kPiece % kMassLanes == 0);
  const size_t whole = (count + kMassLanes - 1) / kMassLanes * kMassLanes;
  for (size_t i = count; i < whole; ++i) exponents[i] = kNothing;
  MassesOf(exponents.data(), whole, masses.data());
}

// Masses of a piece of tokens, none for those of more than `cut` steps. False if none has any;
// masses are then unspecified.
bool PieceMasses(std::span<const uint32_t> steps, uint32_t cut, Masses& masses) {
  const uint32_t most = std::min(cut, kNoMassSteps);
  uint32_t any = 0;
  for (const uint32_t s : steps) any |= s <= most ? 1U : 0U;
  if (any == 0) return false;
  Exponents exponents;
  for (size_t i = 0; i < steps.size(); ++i) {
    exponents[i] = steps[i] <= most ? ExponentOf(steps[i]) : kNothing;
  }
  MassesOfPiece(steps.size(), exponents, masses);
  return true;
}

// Calls piece(begin, tokens of it) for pieces of up to kPiece.
template <typename T, typename F>
void ForPieces(std::span<const T> slice, F piece) {
  for (size_t begin = 0; begin < slice.size(); begin += kPiece) {
    piece(begin, slice.subspan(begin, std::min(kPiece, slice.size() - begin)));
  }
}

}  // namespace

bool AllFinite(std::span<const float> logits) {
  constexpr uint32_t kExponent = 0x7f800000;
  uint32_t bad = 0;
  for (const float logit : logits) {
    bad |= (std::bit_cast<uint32_t>(logit) & kExponent) == kExponent ? 1U : 0U;
  }
  return bad == 0;
}

Candidate Largest(std::span<const float> logits, int64_t first) {
  float largest = kBanned;
  size_t piece_of_largest = 0;
  ForPieces(logits, [&](size_t begin, std::span<const float> piece) {
    const float value = LargestValue(piece);
    if (value > largest) {
      largest = value;
      piece_of_largest = begin;
    }
  });
  if (largest == kBanned) return kNoCandidate;
  size_t at = piece_of_largest;
  while (logits[at] != largest) ++at;
  return MakeCandidate(largest, static_cast<int32_t>(first + static_cast<int64_t>(at)));
}

void LargestFew(std::span<const float> logits, int64_t first, std::span<Candidate> few) {
  if (few.size() == 1) {
    few[0] = Largest(logits, first);
    return;
  }
  // A heap whose front is the least likely so far. Ids ascend, so an equal logit never enters.
  size_t held = 0;
  float least = kBanned;
  const auto begin = few.begin();
  constexpr size_t kGlance = 64;
  for (size_t from = 0; from < logits.size(); from += kGlance) {
    const auto glance = logits.subspan(from, std::min(kGlance, logits.size() - from));
    uint32_t enter = 0;
    for (const float logit : glance) enter |= logit > least ? 1U : 0U;
    if (enter == 0) continue;
    for (size_t i = 0; i < glance.size(); ++i) {
      if (!(glance[i] > least)) continue;
      const auto id = static_cast<int32_t>(first + static_cast<int64_t>(from + i));
      if (held == few.size()) {
        std::pop_heap(begin, few.end(), std::greater<>());
        few.back() = MakeCandidate(glance[i], id);
      } else {
        few[held++] = MakeCandidate(glance[i], id);
      }
      std::push_heap(begin, begin + static_cast<std::ptrdiff_t>(held), std::greater<>());
      if (held == few.size()) least = LogitOf(few.front());
    }
  }
  std::sort_heap(begin, begin + static_cast<std::ptrdiff_t>(held), std::greater<>());
  std::fill(begin + static_cast<std::ptrdiff_t>(held), few.end(), kNoCandidate);
}

uint64_t MassBelow(std::span<const float> logits, float largest) {
  uint64_t mass = 0;
  Exponents exponents;
  Masses masses;
  ForPieces(logits, [&](size_t, std::span<const float> piece) {
    for (size_t i = 0; i < piece.size(); ++i) {
      exponents[i] = static_cast<double>(piece[i]) - static_cast<double>(largest);
    }
    MassesOfPiece(piece.size(), exponents, masses);
    for (size_t i = 0; i < piece.size(); ++i) mass += masses[i];
  });
  return mass;
}

void StepsOf(std::span<const float> logits, float largest, double steps_per_logit,
             uint32_t* steps) {
  // By pieces through the stack: in and out may be the same memory under two types.
  std::array<float, kPiece> values;
  ForPieces(logits, [&](size_t begin, std::span<const float> piece) {
    std::copy(piece.begin(), piece.end(), values.begin());
    for (size_t i = 0; i < piece.size(); ++i) {
      steps[begin + i] = StepsBelow(largest, values[i], steps_per_logit);
    }
  });
}

uint64_t MassUpTo(std::span<const uint32_t> steps, uint32_t cut) {
  uint64_t mass = 0;
  Masses masses;
  ForPieces(steps, [&](size_t, std::span<const uint32_t> piece) {
    if (!PieceMasses(piece, cut, masses)) return;
    for (size_t i = 0; i < piece.size(); ++i) mass += masses[i];
  });
  return mass;
}

void AddCounts(std::span<const uint32_t> steps, const StepsPrefix& prefix, Histogram ranges) {
  for (const uint32_t s : steps) {
    if (prefix.Holds(s)) ++ranges[prefix.RangeOf(s)];
  }
}

void AddMasses(std::span<const uint32_t> steps, const StepsPrefix& prefix, uint32_t cut,
               Histogram ranges) {
  Masses masses;
  if (prefix.level == 0) {
    ForPieces(steps, [&](size_t, std::span<const uint32_t> piece) {
      if (!PieceMasses(piece, cut, masses)) return;
      for (size_t i = 0; i < piece.size(); ++i) ranges[prefix.RangeOf(piece[i])] += masses[i];
    });
    return;
  }
  // Few are held: look for them first, then at them.
  const int shift = 32 - 8 * prefix.level;
  ForPieces(steps, [&](size_t, std::span<const uint32_t> piece) {
    uint32_t held = 0;
    for (const uint32_t s : piece) held |= s >> shift == prefix.prefix ? 1U : 0U;
    if (held == 0) return;
    for (const uint32_t s : piece) {
      if (s >> shift == prefix.prefix && s <= cut) ranges[prefix.RangeOf(s)] += MassOf(s);
    }
  });
}

size_t TokenAt(std::span<const uint32_t> steps, const Kept& kept, uint64_t point) {
  Masses masses;
  uint64_t ties = kept.ties;
  for (size_t begin = 0; begin < steps.size(); begin += kPiece) {
    const auto piece = steps.subspan(begin, std::min(kPiece, steps.size() - begin));
    if (!PieceMasses(piece, kept.cut, masses)) continue;
    for (size_t i = 0; i < piece.size(); ++i) {
      if (piece[i] == kept.cut && ties-- == 0) {
        ++ties;
        continue;
      }
      if (point < masses[i]) return begin + i;
      point -= masses[i];
    }
  }
  TRI_CHECK(false) << "a draw beyond the mass of its shard";
  return 0;
}

}  // namespace trireme
