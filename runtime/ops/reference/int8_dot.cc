#include "runtime/ops/reference/int8_dot.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
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
  float m = 0;
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

float Half(const std::byte* from) {
  uint16_t half;
  std::memcpy(&half, from, sizeof half);
  return HalfToFloat(half);
}

// Group `index` of a row of weights. decode_row.cc says how blocks are laid out.
Group GroupOf(const StoredRow& w, int64_t index) {
  const std::byte* block = w.bytes + index * Traits(w.dtype).block_bytes;
  Group group{.d = Half(block)};
  const auto nibble = [](const std::byte* nibbles, size_t i) {
    const auto byte = static_cast<int32_t>(nibbles[i % 16]);
    return i < 16 ? byte & 0xF : byte >> 4;
  };
  for (size_t i = 0; i < kSize; ++i) {
    switch (w.dtype) {
      case DType::kQ8_0:
        group.q[i] = static_cast<int8_t>(block[2 + i]);
        break;
      case DType::kQ4_0:
        group.q[i] = nibble(block + 2, i) - 8;
        break;
      case DType::kQ4_1:
        group.q[i] = nibble(block + 4, i);
        break;
      default:
        TRI_CHECK(false) << Name(w.dtype) << " has no groups for integers";
    }
  }
  if (w.dtype == DType::kQ4_1) group.m = Half(block + 2);
  return group;
}

float Dot(std::span<const float> x, const StoredRow& w, int64_t first_column) {
  float sum = 0;
  for (size_t k = 0; k < x.size(); k += kSize) {
    const Group a = GroupOf(x.subspan(k, kSize));
    const Group b = GroupOf(w, (first_column + static_cast<int64_t>(k)) / kInt8Group);
    int32_t dot = 0;
    int32_t total = 0;
    for (size_t i = 0; i < kSize; ++i) {
      dot += a.q[i] * b.q[i];
      total += a.q[i];
    }
    sum = std::fma(static_cast<float>(dot), b.d * a.d, sum);
    if (w.dtype == DType::kQ4_1) sum = std::fma(b.m, a.d * static_cast<float>(total), sum);
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
