// RmsNorm.
#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/ops/cpu/norm.cc"
#include "runtime/ops/cpu/targets.h"
// Highway re-includes this file once a target; order matters.
#include "hwy/foreach_target.h"
#include "runtime/ops/cpu/decode-inl.h"
#include "runtime/ops/cpu/kernels.h"
#include "runtime/ops/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace trireme::cpu::HWY_NAMESPACE {
#if TRI_CPU_KERNELS
namespace {

float SquareSum(const float* x, int64_t width) {
  Lanes sum = ZeroLanes();
  int64_t i = 0;
  for (; i + 16 <= width; i += 16) {
    const Lanes values = LoadLanes(x + i);
    MulAdd(values, values, sum);
  }
  if (i < width) {
    const Lanes values = LoadLanes(x + i, width - i);
    MulAdd(values, values, sum);
  }
  return Fold(sum);
}

template <class W>
void NormalizeRow(const float* x, const uint8_t* weight, float inverse, int64_t width, float* out) {
  const VF factor = hn::Set(DF(), inverse);
  const auto scaled = [factor](const Lanes& values, const Lanes& scale) HWY_ATTR {
    Lanes result;
    for (int p = 0; p < kParts; ++p) {
      result.part[p] = hn::Mul(hn::Mul(values.part[p], factor), scale.part[p]);
    }
    return result;
  };
  int64_t i = 0;
  for (; i + 16 <= width; i += 16) {
    Lanes scale;
    W::Decode(weight, i / 16, nullptr, &scale);
    StoreLanes(scaled(LoadLanes(x + i), scale), out + i);
  }
  if (i < width) {
    HWY_ALIGN float tail[16];
    const Lanes scale = DecodeTail<W>(weight + i * W::kElementBytes, width - i);
    StoreLanes(scaled(LoadLanes(x + i, width - i), scale), tail);
    std::copy_n(tail, width - i, out + i);
  }
}

void ScaleToUnit(const float* x, float inverse, int64_t width, float* out) {
  ForEachVector(width, [=](auto d, int64_t i) HWY_ATTR {
    hn::StoreU(hn::Mul(hn::LoadU(d, x + i), hn::Set(d, inverse)), d, out + i);
  });
}

}  // namespace

void RmsNorm(const NormArgs& args, Range tokens) {
  const int64_t width = args.x.columns();
  const auto* weight = reinterpret_cast<const uint8_t*>(args.weight.data);
  for (int64_t t = tokens.begin; t < tokens.end; ++t) {
    const float* x = args.x.row_as<float>(t);
    const float mean = SquareSum(x, width) / static_cast<float>(width);
    const float inverse = 1.0f / std::sqrt(mean + args.eps);
    float* out = args.out.row_as<float>(t);
    if (weight == nullptr) {
      ScaleToUnit(x, inverse, width, out);
      continue;
    }
    WithWeights(args.weight.dtype, [&](auto reader) {
      using W = decltype(reader);
      if constexpr (W::kElementBytes > 0) {
        NormalizeRow<W>(x, weight, inverse, width, out);
      } else {
        TRI_CHECK(false) << "norm weights are F32, F16 or BF16";
      }
    });
  }
}

#endif
}  // namespace trireme::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
