// Activations to groups of int8 (int8_group.h).
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

HWY_INLINE void QuantizeGroup(const float* x, const Int8Rows& to, int64_t group) {
  VF values[kVectors];
  for (int i = 0; i < kVectors; ++i) values[i] = hn::LoadU(DF(), x + i * kWidth);
  // Magnitudes compare like their bits, NaN above all.
  VI largest = hn::Zero(DI());
  for (const VF value : values) largest = hn::Max(largest, hn::BitCast(DI(), hn::Abs(value)));
  const int32_t bits = hn::GetLane(hn::MaxOfLanes(DI(), largest));
  const Int8Scale scale = ScaleOfInt8(std::bit_cast<float>(bits));
  const VF inverse = hn::Set(DF(), scale.inverse);
  VI sum = hn::Zero(DI());
  int8_t* const q = to.values + group * kInt8Group;
  for (int i = 0; i < kVectors; ++i) {
    // Where the inverse is 0 values may be infinite, and every q is 0.
    VI rounded = hn::NearestInt(hn::Mul(values[i], inverse));
    if (scale.inverse == 0) rounded = hn::Zero(DI());
    sum = hn::Add(sum, rounded);
    const hn::Rebind<int8_t, DF> d8;
    hn::StoreU(hn::DemoteTo(d8, rounded), d8, q + i * kWidth);
  }
  const int32_t total = hn::GetLane(hn::SumOfLanes(DI(), sum));
  to.scales[group] = scale.d;
  to.sums[group] = scale.d * static_cast<float>(total);
  to.counters[group] = -total;
}

}  // namespace

void QuantizeRows(const ConstTensorView& x, const Int8Rows& to, Range rows) {
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const float* from = x.row_as<float>(row);
    for (int64_t group = 0; group < to.groups; ++group) {
      QuantizeGroup(from + group * kInt8Group, to, row * to.groups + group);
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
