#include "runtime/ops/reference/int8_dot.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <optional>
#include <vector>

#include "runtime/base/check.h"
#include "runtime/ops/int8_group.h"
#include "runtime/ops/scalar_math.h"

namespace trireme {
namespace {

constexpr size_t kSize = kInt8Group;

struct Group {
  std::array<int32_t, kSize> q{};
  float d = 0;
};

// w = d * q + m, with a d for each half.
struct WeightGroup {
  std::array<int32_t, kSize> q{};
  std::array<float, 2> d{};
  std::optional<float> m;
};

Group GroupOf(std::span<const float> x) {
  float largest = 0;
  for (const float value : x) {
    // Once it is NaN it stays so.
    if (!(std::abs(value) <= largest)) largest = std::abs(value);
    if (std::isnan(largest)) break;
  }
  const Int8Scale scale = ScaleOfInt8(largest);
  Group group{.d = scale.d};
  if (scale.inverse == 0) return group;
  for (size_t i = 0; i < kSize; ++i) {
    group.q[i] = static_cast<int32_t>(std::nearbyint(x[i] * scale.inverse));
  }
  return group;
}

int32_t Byte(const std::byte* from, size_t i) { return static_cast<int32_t>(from[i]); }

float Half(const std::byte* from) {
  uint16_t half;
  std::memcpy(&half, from, sizeof half);
  return HalfToFloat(half);
}

// Value i of a block of one group.
int32_t SmallInteger(DType dtype, const std::byte* block, size_t i) {
  const auto nibble = [i](const std::byte* nibbles) {
    return i < 16 ? Byte(nibbles, i) & 0xF : Byte(nibbles, i - 16) >> 4;
  };
  switch (dtype) {
    case DType::kQ8_0:
      return static_cast<int8_t>(block[2 + i]);
    case DType::kQ4_0:
      return nibble(block + 2) - 8;
    default:
      return nibble(block + 4);
  }
}

// Value i of group g of a block of eight.
int32_t LargeInteger(DType dtype, const std::byte* block, size_t g, size_t i) {
  const auto paired = [&](const std::byte* nibbles) {
    return (Byte(nibbles, g / 2 * 32 + i) >> (g % 2 * 4)) & 0xF;
  };
  if (dtype == DType::kQ4_K) return paired(block + 16);
  if (dtype == DType::kQ5_K) return paired(block + 48) | (((Byte(block, 16 + i) >> g) & 1) << 4);
  const size_t half = g / 4;
  const size_t quarter = g % 4;
  const int32_t low = Byte(block, half * 64 + quarter % 2 * 32 + i) >> (quarter / 2 * 4);
  const int32_t high = Byte(block, 128 + half * 32 + i) >> (quarter * 2);
  return ((low & 0xF) | ((high & 3) << 4)) - 32;
}

// Scale and minimum of group g of Q4_K and Q5_K: six bits each, of twelve bytes.
struct SixBits {
  int32_t scale;
  int32_t minimum;
};
SixBits UnpackSixBits(const std::byte* packed, size_t g) {
  if (g < 4) return {Byte(packed, g) & 63, Byte(packed, g + 4) & 63};
  return {(Byte(packed, g + 4) & 0xF) | ((Byte(packed, g - 4) >> 6) << 4),
          (Byte(packed, g + 4) >> 4) | ((Byte(packed, g) >> 6) << 4)};
}

// Group `index` of a row of weights. decode_row.cc says how blocks are laid out.
WeightGroup GroupOf(const StoredRow& w, int64_t index) {
  const DTypeTraits& traits = Traits(w.dtype);
  const int64_t of_block = traits.block_elements / kInt8Group;
  const std::byte* block = w.bytes + index / of_block * traits.block_bytes;
  const auto g = static_cast<size_t>(index % of_block);
  WeightGroup group;
  for (size_t i = 0; i < kSize; ++i) {
    group.q[i] =
        of_block == 1 ? SmallInteger(w.dtype, block, i) : LargeInteger(w.dtype, block, g, i);
  }
  group.d.fill(Half(block));
  if (w.dtype == DType::kQ4_1) group.m = Half(block + 2);
  if (w.dtype == DType::kQ4_K || w.dtype == DType::kQ5_K) {
    const SixBits bits = UnpackSixBits(block + 4, g);
    group.d.fill(Half(block) * static_cast<float>(bits.scale));
    group.m = -(Half(block + 2) * static_cast<float>(bits.minimum));
  }
  if (w.dtype == DType::kQ6_K) {
    for (size_t h = 0; h < 2; ++h) {
      group.d[h] = Half(block + 208) * static_cast<int8_t>(block[192 + 2 * g + h]);
    }
  }
  return group;
}

float Dot(std::span<const float> x, const StoredRow& w, int64_t first_column) {
  float sum = 0;
  for (size_t k = 0; k < x.size(); k += kSize) {
    const Group a = GroupOf(x.subspan(k, kSize));
    const WeightGroup b = GroupOf(w, (first_column + static_cast<int64_t>(k)) / kInt8Group);
    std::array<int32_t, 2> dots{};
    int32_t total = 0;
    for (size_t i = 0; i < kSize; ++i) {
      dots[i / 16] += a.q[i] * b.q[i];
      total += a.q[i];
    }
    if (w.dtype == DType::kQ6_K) {
      for (size_t h = 0; h < 2; ++h) {
        sum = std::fma(static_cast<float>(dots[h]), b.d[h] * a.d, sum);
      }
    } else {
      sum = std::fma(static_cast<float>(dots[0] + dots[1]), b.d[0] * a.d, sum);
    }
    if (b.m) sum = std::fma(*b.m, a.d * static_cast<float>(total), sum);
  }
  return sum;
}

}  // namespace

float Int8LeavesDot(std::span<const float> x, const StoredRow& w, const LeafSchedule& schedule) {
  std::vector<float> sums;
  for (const Range leaf : schedule.leaves) {
    sums.push_back(Dot(x.subspan(static_cast<size_t>(leaf.begin), static_cast<size_t>(leaf.size())),
                       w, leaf.begin + w.offset));
  }
  for (const SumStep& step : schedule.steps) {
    sums[static_cast<size_t>(step.into)] += sums[static_cast<size_t>(step.from)];
  }
  return sums.empty() ? 0 : sums[0];
}

}  // namespace trireme
