#include "runtime/ops/quantize_row.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>

#include "runtime/base/check.h"
#include "runtime/ops/scalar_math.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/ops/quantize_row.cc"
// Highway re-includes this file once a target; order matters.
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#ifndef TRIREME_RUNTIME_OPS_QUANTIZE_ROW_ONCE
#define TRIREME_RUNTIME_OPS_QUANTIZE_ROW_ONCE
namespace trireme {
namespace {

constexpr size_t kBlock = 32;
constexpr float kLargestHalf = 65504.0f;

// Of 32 points (step, y): what the line nearest to them is made of. Whole numbers, exact in fp32.
struct PointSums {
  float step = 0;
  float step_step = 0;
  float step_y = 0;
};

// y is about scale * step + minimum. The sum of squared errors is that of y * y less `gain`.
struct Line {
  double gain = -1;
  double scale = 0;
  double minimum = 0;
};

Line LineThrough(const PointSums& sums, double y) {
  constexpr double n = kBlock;
  const double s = sums.step, ss = sums.step_step, sy = sums.step_y;
  const double determinant = n * ss - s * s;
  if (determinant <= 0) return {};  // all on one step
  const double scale = (n * sy - s * y) / determinant;
  const double minimum = (y * ss - s * sy) / determinant;
  return {scale > 0 ? scale * sy + minimum * y : -1, scale, minimum};
}

// What fits a scale, or a minimum.
float LimitOf(DType dtype) { return dtype == DType::kQ8_0 ? 127 * kLargestHalf : kLargestHalf; }
size_t BytesOf(DType dtype) { return static_cast<size_t>(Traits(dtype).block_bytes); }

float NearestHalf(double value) {
  const auto held = static_cast<float>(std::clamp(value, -65504.0, 65504.0));
  return HalfToFloat(FloatToHalf(held));
}

void PutHalf(float half, std::byte* out) {
  const uint16_t bits = FloatToHalf(half);
  std::memcpy(out, &bits, sizeof bits);
}

}  // namespace
}  // namespace trireme
#endif

HWY_BEFORE_NAMESPACE();
namespace trireme::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, 16>;
using V = hn::Vec<D>;

float Sum(V v) { return hn::GetLane(hn::SumOfLanes(D(), v)); }

// `begin` has step 0; ends beyond the steps are clipped to them.
V StepsOf(V y, V begin, V inverse) {
  const V step = hn::Round(hn::Mul(hn::Sub(y, begin), inverse));
  return hn::Min(hn::Max(step, hn::Zero(D())), hn::Set(D(), 15.0f));
}

PointSums Deal(const float* HWY_RESTRICT y, float begin, float inverse) {
  const D d;
  V s = hn::Zero(d);
  V ss = hn::Zero(d);
  V sy = hn::Zero(d);
  for (size_t i = 0; i < kBlock; i += hn::Lanes(d)) {
    const V value = hn::Load(d, y + i);
    const V step = StepsOf(value, hn::Set(d, begin), hn::Set(d, inverse));
    s = hn::Add(s, step);
    ss = hn::MulAdd(step, step, ss);
    sy = hn::MulAdd(step, value, sy);
  }
  return {Sum(s), Sum(ss), Sum(sy)};
}

// The values from their least to their greatest are y from 0 to this; 15 * 32 of them are below
// 2^24.
constexpr float kRange = 32767.0f;

Line SearchLine(const float* HWY_RESTRICT y) {
  const D d;
  V sum = hn::Zero(d);
  for (size_t i = 0; i < kBlock; i += hn::Lanes(d)) sum = hn::Add(sum, hn::Load(d, y + i));
  const double total = Sum(sum);
  // Fewer steps than 15 leave some unused, more clip the ends.
  constexpr int kTries = 12;
  constexpr float kFewest = 13.0f;
  constexpr float kMore = 0.5f;
  Line best;
  for (int i = 0; i < kTries; ++i) {
    const float steps = kFewest + kMore * static_cast<float>(i);
    const float begin = std::max(0.0f, (steps - 15.0f) / 2) * kRange / steps;
    const Line line = LineThrough(Deal(y, begin, steps / kRange), total);
    if (line.gain > best.gain) best = line;
  }
  // A line deals the values a little differently from what it was made of.
  for (int i = 0; i < 2 && best.scale > 0; ++i) {
    const auto begin = static_cast<float>(best.minimum);
    const Line line = LineThrough(Deal(y, begin, static_cast<float>(1 / best.scale)), total);
    if (line.gain <= best.gain) break;
    best = line;
  }
  return best;
}

void QuantizeQ4(const float* HWY_RESTRICT x, float least, float greatest, std::byte* out) {
  const D d;
  const float range = greatest - least;
  float scale = 0;
  float minimum = NearestHalf(least);
  // What fp16 cannot tell from one value is one.
  if (range / 15 >= 0x1p-24f) {
    HWY_ALIGN float y[kBlock];
    const V to_y = hn::Set(d, kRange / range);
    for (size_t i = 0; i < kBlock; i += hn::Lanes(d)) {
      const V over = hn::Sub(hn::LoadU(d, x + i), hn::Set(d, least));
      hn::Store(hn::Min(hn::Round(hn::Mul(over, to_y)), hn::Set(d, kRange)), d, y + i);
    }
    const Line line = SearchLine(y);
    const double unit = static_cast<double>(range) / static_cast<double>(kRange);
    scale = NearestHalf(line.scale * unit);
    minimum = NearestHalf(line.minimum * unit + static_cast<double>(least));
  }
  PutHalf(scale, out);
  PutHalf(minimum, out + 2);
  HWY_ALIGN float steps[kBlock];
  const V inverse = hn::Set(d, scale > 0 ? 1 / scale : 0.0f);
  for (size_t i = 0; i < kBlock; i += hn::Lanes(d)) {
    hn::Store(StepsOf(hn::LoadU(d, x + i), hn::Set(d, minimum), inverse), d, steps + i);
  }
  for (size_t i = 0; i < kBlock / 2; ++i) {
    const auto low = static_cast<int>(steps[i]);
    const auto high = static_cast<int>(steps[i + kBlock / 2]);
    out[4 + i] = static_cast<std::byte>(low | high << 4);
  }
}

void QuantizeQ8(const float* HWY_RESTRICT x, float largest, std::byte* out) {
  const D d;
  const Q8Scale scale = ScaleOfQ8(largest);
  std::memcpy(out, &scale.half, sizeof scale.half);
  HWY_ALIGN float q[kBlock];
  const V inverse = hn::Set(d, scale.inverse);
  for (size_t i = 0; i < kBlock; i += hn::Lanes(d)) {
    const V value = hn::Round(hn::Mul(hn::LoadU(d, x + i), inverse));
    hn::Store(hn::Min(hn::Max(value, hn::Set(d, -127.0f)), hn::Set(d, 127.0f)), d, q + i);
  }
  for (size_t i = 0; i < kBlock; ++i) {
    out[2 + i] = static_cast<std::byte>(static_cast<int8_t>(q[i]));
  }
}

// False where a value of the block has no place in the type.
bool QuantizeBlock(DType dtype, const float* x, std::byte* out) {
  const D d;
  const float limit = LimitOf(dtype);
  V least = hn::LoadU(d, x);
  V greatest = least;
  auto fits = hn::Le(hn::Abs(least), hn::Set(d, limit));  // false of NaN too
  for (size_t i = hn::Lanes(d); i < kBlock; i += hn::Lanes(d)) {
    const V value = hn::LoadU(d, x + i);
    fits = hn::And(fits, hn::Le(hn::Abs(value), hn::Set(d, limit)));
    least = hn::Min(least, value);
    greatest = hn::Max(greatest, value);
  }
  if (!hn::AllTrue(d, fits)) return false;
  const float low = hn::GetLane(hn::MinOfLanes(d, least));
  const float high = hn::GetLane(hn::MaxOfLanes(d, greatest));
  if (dtype == DType::kQ8_0) {
    QuantizeQ8(x, std::max(-low, high), out);
  } else {
    QuantizeQ4(x, low, high, out);
  }
  return true;
}

}  // namespace

// How many blocks were written: all of them, or those before the first with a value that has no
// place in the type.
size_t QuantizeBlocks(DType dtype, const float* x, size_t blocks, std::byte* out) {
  const size_t bytes = BytesOf(dtype);
  for (size_t block = 0; block < blocks; ++block) {
    if (!QuantizeBlock(dtype, x + block * kBlock, out + block * bytes)) return block;
  }
  return blocks;
}

}  // namespace trireme::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace trireme {
HWY_EXPORT(QuantizeBlocks);

bool IsQuantizedTo(DType dtype) { return dtype == DType::kQ8_0 || dtype == DType::kQ4_1; }

std::optional<size_t> QuantizeRow(DType dtype, std::span<const float> values,
                                  std::span<std::byte> out) {
  TRI_CHECK(IsQuantizedTo(dtype)) << Name(dtype);
  TRI_CHECK_EQ(values.size() % kBlock, 0u);
  const size_t bytes = BytesOf(dtype);
  TRI_CHECK_EQ(out.size(), values.size() / kBlock * bytes);
  const size_t blocks = values.size() / kBlock;
  const size_t written =
      HWY_DYNAMIC_DISPATCH(QuantizeBlocks)(dtype, values.data(), blocks, out.data());
  if (written == blocks) return std::nullopt;
  const float limit = LimitOf(dtype);
  const auto bad =
      std::find_if(values.begin() + static_cast<std::ptrdiff_t>(written * kBlock), values.end(),
                   [limit](float value) { return !(std::abs(value) <= limit); });
  return static_cast<size_t>(bad - values.begin());
}

}  // namespace trireme
#endif
