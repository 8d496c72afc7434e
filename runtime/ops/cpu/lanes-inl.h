// The 16 fp32 lanes of ops.h's Dot as vector registers: one of AVX-512, two of AVX2, four of NEON.
// Code written over Lanes performs the same operations on the same lanes at every width.
//
// Included once a target by Highway's foreach_target, hence the toggled guard.
#if defined(TRIREME_RUNTIME_OPS_CPU_LANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TRIREME_RUNTIME_OPS_CPU_LANES_INL_H_
#undef TRIREME_RUNTIME_OPS_CPU_LANES_INL_H_
#else
#define TRIREME_RUNTIME_OPS_CPU_LANES_INL_H_
#endif

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "runtime/ops/cpu/targets.h"
// Highway's own header comes after targets.h.
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace trireme::cpu::HWY_NAMESPACE {
#if TRI_CPU_KERNELS

namespace hn = hwy::HWY_NAMESPACE;

using DF = hn::CappedTag<float, 16>;
using VF = hn::Vec<DF>;
using D1 = hn::CappedTag<float, 1>;  // the same code, for what is left of a row
using D4 = hn::FixedTag<float, 4>;
using V4 = hn::Vec<D4>;

inline constexpr int64_t kWidth = hn::MaxLanes(DF());
inline constexpr int kParts = static_cast<int>(16 / kWidth);

struct Lanes {
  VF part[kParts];
};

using DI = hn::RebindToSigned<DF>;
using VI = hn::Vec<DI>;
using DU = hn::RebindToUnsigned<DF>;

// 16 integers, as lanes.
struct IntLanes {
  VI part[kParts];
};

HWY_INLINE Lanes ZeroLanes() {
  Lanes lanes;
  for (VF& part : lanes.part) part = hn::Zero(DF());
  return lanes;
}

HWY_INLINE Lanes LoadLanes(const float* from) {
  Lanes lanes;
  for (int i = 0; i < kParts; ++i) lanes.part[i] = hn::LoadU(DF(), from + i * kWidth);
  return lanes;
}

// `count` < 16 values, padded with zeros.
HWY_INLINE Lanes LoadLanes(const float* from, int64_t count) {
  HWY_ALIGN float padded[16] = {};
  std::copy_n(from, count, padded);
  return LoadLanes(padded);
}

HWY_INLINE void StoreLanes(const Lanes& lanes, float* to) {
  for (int i = 0; i < kParts; ++i) hn::StoreU(lanes.part[i], DF(), to + i * kWidth);
}

HWY_INLINE void MulAdd(const Lanes& a, const Lanes& b, Lanes& sum) {
  for (int i = 0; i < kParts; ++i) sum.part[i] = hn::MulAdd(a.part[i], b.part[i], sum.part[i]);
}

// l[i] += l[i + 8], then l[i] += l[i + 4], for lanes in kCount registers.
template <int kCount, class V>
HWY_INLINE V4 FoldToFour(const V (&part)[kCount]) {
  if constexpr (kCount == 4) {
    return hn::Add(hn::Add(part[0], part[2]), hn::Add(part[1], part[3]));
  } else if constexpr (kCount == 2) {
    const V eight = hn::Add(part[0], part[1]);
    return hn::Add(hn::LowerHalf(D4(), eight), hn::UpperHalf(D4(), eight));
  } else {
    const hn::FixedTag<float, 8> d8;
    const auto eight = hn::Add(hn::LowerHalf(d8, part[0]), hn::UpperHalf(d8, part[0]));
    return hn::Add(hn::LowerHalf(D4(), eight), hn::UpperHalf(D4(), eight));
  }
}

// The totals of four sets of lanes, each folded in the order of Dot.
HWY_INLINE V4 Fold(const Lanes& a, const Lanes& b, const Lanes& c, const Lanes& d) {
  const D4 d4;
  const auto fold_pair = [d4](V4 low, V4 high) HWY_ATTR {
    return hn::Add(hn::ConcatLowerLower(d4, high, low), hn::ConcatUpperUpper(d4, high, low));
  };
  const V4 ab = fold_pair(FoldToFour(a.part), FoldToFour(b.part));
  const V4 cd = fold_pair(FoldToFour(c.part), FoldToFour(d.part));
  return hn::Add(hn::ConcatEven(d4, cd, ab), hn::ConcatOdd(d4, cd, ab));
}

HWY_INLINE float Fold(const Lanes& lanes) { return hn::GetLane(Fold(lanes, lanes, lanes, lanes)); }

// Calls body(tag, i) for every i of [0, count), a vector at a time and then one by one.
template <class Body>
HWY_INLINE void ForEachVector(int64_t count, const Body& body) {
  int64_t i = 0;
  for (; i + kWidth <= count; i += kWidth) body(DF(), i);
  for (; i < count; ++i) body(D1(), i);
}

#endif
}  // namespace trireme::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
