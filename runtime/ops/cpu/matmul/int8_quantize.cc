// Activations to groups of int8 (int8_group.h).
#include <algorithm>
#include <limits>

#define TRI_WITH_AVX3_DL
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/ops/cpu/matmul/int8_quantize.cc"
#include "runtime/ops/cpu/targets.h"
// Highway re-includes this file once a target; order matters.
#include "hwy/foreach_target.h"
#include "runtime/ops/cpu/lanes-inl.h"
#include "runtime/ops/cpu/matmul/int8.h"
#include "runtime/ops/int8_group.h"

HWY_BEFORE_NAMESPACE();
namespace trireme::cpu::HWY_NAMESPACE {
#if TRI_CPU_KERNELS
namespace {

constexpr int kVectors = static_cast<int>(kInt8Group / kWidth);
constexpr int kAtOnce = 4;

using I4 = hn::RebindToSigned<D4>;

// combine over the lanes of each block of four, whose order does not matter.
template <class V, class Combine>
HWY_INLINE hn::Vec<I4> FoldToFour(V lanes, const Combine& combine) {
  const I4 d4;
  if constexpr (kWidth == 16) {
    const hn::FixedTag<int32_t, 8> d8;
    const auto eight = combine(hn::LowerHalf(d8, lanes), hn::UpperHalf(d8, lanes));
    return combine(hn::LowerHalf(d4, eight), hn::UpperHalf(d4, eight));
  } else if constexpr (kWidth == 8) {
    return combine(hn::LowerHalf(d4, lanes), hn::UpperHalf(d4, lanes));
  } else {
    return lanes;
  }
}

// combine over all lanes of each of four vectors.
template <class V, class Combine>
HWY_INLINE hn::Vec<I4> FoldFour(const V (&each)[kAtOnce], const Combine& combine) {
  const I4 d4;
  hn::Vec<I4> four[kAtOnce];
  for (int i = 0; i < kAtOnce; ++i) four[i] = FoldToFour(each[i], combine);
  const auto pair = [&](hn::Vec<I4> low, hn::Vec<I4> high) HWY_ATTR {
    return combine(hn::ConcatLowerLower(d4, high, low), hn::ConcatUpperUpper(d4, high, low));
  };
  const auto low = pair(four[0], four[1]);
  const auto high = pair(four[2], four[3]);
  return combine(hn::ConcatEven(d4, high, low), hn::ConcatOdd(d4, high, low));
}

// ScaleOfInt8 of four.
struct Scales {
  V4 d;
  V4 inverse;
};
HWY_INLINE Scales ScalesOf(V4 largest) {
  const V4 most = hn::Set(D4(), std::numeric_limits<float>::max());
  const V4 steps = hn::Set(D4(), 127.0f);
  const V4 inverse = hn::Div(steps, largest);
  const auto finite = hn::Le(largest, most);
  const V4 nan = hn::Set(D4(), std::numeric_limits<float>::quiet_NaN());
  return {hn::IfThenElse(finite, hn::Div(largest, steps), nan),
          hn::IfThenElseZero(hn::And(finite, hn::Le(inverse, most)), inverse)};
}

// Four groups of a row, which may be the same: what one needs after the other is computed for all.
HWY_INLINE void QuantizeGroups(const float* row, const int64_t (&groups)[kAtOnce], int64_t first,
                               const Int8Rows& to) {
  VI largest[kAtOnce];
  for (int g = 0; g < kAtOnce; ++g) {
    // Magnitudes compare like their bits, NaN above all.
    largest[g] = hn::Zero(DI());
    for (int i = 0; i < kVectors; ++i) {
      const VF value = hn::LoadU(DF(), row + groups[g] * kInt8Group + i * kWidth);
      largest[g] = hn::Max(largest[g], hn::BitCast(DI(), hn::Abs(value)));
    }
  }
  const auto most = FoldFour(largest, [](auto a, auto b) HWY_ATTR { return hn::Max(a, b); });
  const Scales scales = ScalesOf(hn::BitCast(D4(), most));
  HWY_ALIGN float inverse[kAtOnce];
  hn::Store(scales.inverse, D4(), inverse);
  VI halves[2][kAtOnce];
  for (int g = 0; g < kAtOnce; ++g) {
    const VF factor = hn::Set(DF(), inverse[g]);
    // Where the inverse is 0 values may be infinite, and every q is 0.
    const auto any = hn::Ne(factor, hn::Zero(DF()));
    halves[0][g] = hn::Zero(DI());
    halves[1][g] = hn::Zero(DI());
    int8_t* const q = to.values + (first + groups[g]) * kInt8Group;
    for (int i = 0; i < kVectors; ++i) {
      const VF value = hn::LoadU(DF(), row + groups[g] * kInt8Group + i * kWidth);
      const VI rounded = hn::NearestInt(hn::IfThenElseZero(any, hn::Mul(value, factor)));
      VI& sum = halves[2 * i / kVectors][g];
      sum = hn::Add(sum, rounded);
      const hn::Rebind<int8_t, DF> d8;
      hn::StoreU(hn::DemoteTo(d8, rounded), d8, q + i * kWidth);
    }
  }
  const auto add = [](auto a, auto b) HWY_ATTR { return hn::Add(a, b); };
  const auto first_half = FoldFour(halves[0], add);
  const auto second_half = FoldFour(halves[1], add);
  const auto totals = hn::Add(first_half, second_half);
  HWY_ALIGN float d[kAtOnce];
  HWY_ALIGN float products[kAtOnce];
  HWY_ALIGN int32_t counters[2][kAtOnce];
  hn::Store(scales.d, D4(), d);
  hn::Store(hn::Mul(scales.d, hn::ConvertTo(D4(), totals)), D4(), products);
  hn::Store(hn::Neg(first_half), I4(), counters[0]);
  hn::Store(hn::Neg(second_half), I4(), counters[1]);
  for (int g = 0; g < kAtOnce; ++g) {
    const int64_t at = first + groups[g];
    to.scales[at] = d[g];
    to.sums[at] = products[g];
    to.counters[2 * at] = counters[0][g];
    to.counters[2 * at + 1] = counters[1][g];
  }
}

}  // namespace

void QuantizeRows(const ConstTensorView& x, const Int8Rows& to, Range rows) {
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    for (int64_t group = 0; group < to.groups; group += kAtOnce) {
      int64_t groups[kAtOnce];
      for (int i = 0; i < kAtOnce; ++i) groups[i] = std::min(group + i, to.groups - 1);
      QuantizeGroups(x.row_as<float>(row), groups, row * to.groups, to);
    }
  }
}

#endif
}  // namespace trireme::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace trireme::cpu {

Int8Rows Int8Rows::In(std::byte* memory, int64_t rows, int64_t groups) {
  Int8Rows to{.rows = rows, .groups = groups};
  const int64_t all = rows * groups;
  to.values = reinterpret_cast<int8_t*>(memory);
  to.scales = reinterpret_cast<float*>(memory + all * kInt8Group);
  to.sums = to.scales + all;
  to.counters = reinterpret_cast<int32_t*>(to.sums + all);
  return to;
}

}  // namespace trireme::cpu
#endif
