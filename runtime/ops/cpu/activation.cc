// SiluMul and Add: one pass over rows.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/ops/cpu/activation.cc"
#include "runtime/ops/cpu/targets.h"
// Highway re-includes this file once a target; order matters.
#include "hwy/foreach_target.h"
#include "runtime/ops/cpu/exp-inl.h"
#include "runtime/ops/cpu/kernels.h"
#include "runtime/ops/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace trireme::cpu::HWY_NAMESPACE {
#if TRI_CPU_KERNELS

void SiluMul(TensorView gate, ConstTensorView up, Range tokens) {
  for (int64_t t = tokens.begin; t < tokens.end; ++t) {
    float* g = gate.row_as<float>(t);
    const float* u = up.row_as<float>(t);
    ForEachVector(gate.columns(), [=](auto d, int64_t i) HWY_ATTR {
      const auto value = hn::LoadU(d, g + i);
      const auto divisor = hn::Add(hn::Set(d, 1.0f), VectorExp(d, hn::Neg(value)));
      hn::StoreU(hn::Mul(hn::Div(value, divisor), hn::LoadU(d, u + i)), d, g + i);
    });
  }
}

void Add(TensorView x, ConstTensorView y, Range tokens) {
  for (int64_t t = tokens.begin; t < tokens.end; ++t) {
    float* to = x.row_as<float>(t);
    const float* from = y.row_as<float>(t);
    ForEachVector(x.columns(), [=](auto d, int64_t i) HWY_ATTR {
      hn::StoreU(hn::Add(hn::LoadU(d, to + i), hn::LoadU(d, from + i)), d, to + i);
    });
  }
}

#endif
}  // namespace trireme::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
