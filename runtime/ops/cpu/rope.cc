// Rope.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/ops/cpu/rope.cc"
#include "runtime/ops/cpu/targets.h"
// Highway re-includes this file once a target; order matters.
#include "hwy/foreach_target.h"
#include "runtime/ops/cpu/kernels.h"
#include "runtime/ops/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace trireme::cpu::HWY_NAMESPACE {
#if TRI_CPU_KERNELS
namespace {

template <class V>
HWY_INLINE void Rotate(V cos, V sin, V& a, V& b) {
  const V rotated = hn::MulAdd(a, cos, hn::Neg(hn::Mul(b, sin)));
  b = hn::MulAdd(b, cos, hn::Mul(a, sin));
  a = rotated;
}

void RotateHalves(float* x, int64_t half, const float* cos, const float* sin) {
  ForEachVector(half, [=](auto d, int64_t i) HWY_ATTR {
    auto a = hn::LoadU(d, x + i);
    auto b = hn::LoadU(d, x + half + i);
    Rotate(hn::LoadU(d, cos + i), hn::LoadU(d, sin + i), a, b);
    hn::StoreU(a, d, x + i);
    hn::StoreU(b, d, x + half + i);
  });
}

void RotatePairs(float* x, int64_t half, const float* cos, const float* sin) {
  ForEachVector(half, [=](auto d, int64_t i) HWY_ATTR {
    float* pair = x + 2 * i;
    if constexpr (hn::MaxLanes(d) == 1) {
      auto a = hn::LoadU(d, pair);
      auto b = hn::LoadU(d, pair + 1);
      Rotate(hn::LoadU(d, cos + i), hn::LoadU(d, sin + i), a, b);
      hn::StoreU(a, d, pair);
      hn::StoreU(b, d, pair + 1);
    } else {
      hn::Vec<decltype(d)> a;
      hn::Vec<decltype(d)> b;
      hn::LoadInterleaved2(d, pair, a, b);
      Rotate(hn::LoadU(d, cos + i), hn::LoadU(d, sin + i), a, b);
      hn::StoreInterleaved2(a, b, d, pair);
    }
  });
}

}  // namespace

void Rope(const RopeArgs& args, Range tokens) {
  const int64_t half = args.head_dim / 2;
  const int64_t heads = args.x.columns() / args.head_dim;
  for (int64_t t = tokens.begin; t < tokens.end; ++t) {
    const int32_t position = args.positions[static_cast<size_t>(t)];
    const float* cos = args.cos.row_as<float>(position);
    const float* sin = args.sin.row_as<float>(position);
    for (int64_t head = 0; head < heads; ++head) {
      float* x = args.x.row_as<float>(t) + head * args.head_dim;
      if (args.style == RopeStyle::kHalves) {
        RotateHalves(x, half, cos, sin);
      } else {
        RotatePairs(x, half, cos, sin);
      }
    }
  }
}

#endif
}  // namespace trireme::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
