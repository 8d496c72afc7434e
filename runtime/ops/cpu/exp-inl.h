// Exp of scalar_math.h, a vector at a time: the same steps in the same order.
#if defined(TRIREME_RUNTIME_OPS_CPU_EXP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TRIREME_RUNTIME_OPS_CPU_EXP_INL_H_
#undef TRIREME_RUNTIME_OPS_CPU_EXP_INL_H_
#else
#define TRIREME_RUNTIME_OPS_CPU_EXP_INL_H_
#endif

#include "runtime/ops/cpu/lanes-inl.h"
#include "runtime/ops/scalar_math.h"

HWY_BEFORE_NAMESPACE();
namespace trireme::cpu::HWY_NAMESPACE {
#if TRI_CPU_KERNELS

template <class D, class V = hn::Vec<D>>
HWY_INLINE V VectorExp(D d, V x) {
  using namespace exp_constants;  // NOLINT(google-build-using-namespace)
  const hn::RebindToSigned<D> di;
  x = hn::IfThenElse(hn::Lt(x, hn::Set(d, kLowest)), hn::Set(d, kLowest), x);
  x = hn::IfThenElse(hn::Gt(x, hn::Set(d, kHighest)), hn::Set(d, kHighest), x);
  const V round = hn::Set(d, kRound);
  const V shifted = hn::MulAdd(x, hn::Set(d, kLog2E), round);
  const V n = hn::Sub(shifted, round);
  V r = hn::MulAdd(n, hn::Set(d, -kLn2High), x);
  r = hn::MulAdd(n, hn::Set(d, -kLn2Low), r);
  V q = hn::MulAdd(hn::Set(d, kQ4), r, hn::Set(d, kQ3));
  q = hn::MulAdd(q, r, hn::Set(d, kQ2));
  q = hn::MulAdd(q, r, hn::Set(d, kQ1));
  q = hn::MulAdd(q, r, hn::Set(d, kQ0));
  const V tail = hn::MulAdd(q, hn::Mul(r, r), r);
  const V mantissa = hn::Add(hn::Set(d, 1.0f), tail);
  const auto exponent = hn::Sub(hn::BitCast(di, shifted), hn::BitCast(di, round));
  const auto half = hn::ShiftRight<1>(exponent);
  const auto power = [d, di](hn::Vec<decltype(di)> e) HWY_ATTR {
    return hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(e, hn::Set(di, 127))));
  };
  return hn::Mul(hn::Mul(mantissa, power(half)), power(hn::Sub(exponent, half)));
}

#endif
}  // namespace trireme::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
