#include "runtime/sampling/mass_kernel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/sampling/mass_kernel.cc"
// Highway re-includes this file once a target; order matters.
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "runtime/sampling/likelihood.h"

HWY_BEFORE_NAMESPACE();
namespace trireme::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR || HWY_TARGET == HWY_EMU128
void MassesOfLanes(const double* exponents, size_t count, uint64_t* masses) {
  for (size_t i = 0; i < count; ++i) masses[i] = ToMass(PortableExp(exponents[i]));
}
#else
namespace hn = hwy::HWY_NAMESPACE;

// PortableExp and ToMass operation by operation: a fused one would round otherwise.
void MassesOfLanes(const double* exponents, size_t count, uint64_t* masses) {
  const hn::CappedTag<double, kMassLanes> d;
  const hn::RebindToUnsigned<decltype(d)> words;
  const auto set = [d](double value) HWY_ATTR { return hn::Set(d, value); };
  for (size_t i = 0; i < count; i += hn::Lanes(d)) {
    const auto x = hn::LoadU(d, exponents + i);
    const auto smallest = set(kSmallestExponent);
    const auto vanishes = hn::Lt(x, smallest);
    const auto clamped = hn::IfThenElse(vanishes, smallest, x);
    const auto shifted = hn::Add(hn::Mul(clamped, set(kLog2E)), set(kRoundToWhole));
    const auto k = hn::Sub(shifted, set(kRoundToWhole));
    const auto r = hn::Sub(hn::Sub(clamped, hn::Mul(k, set(kLn2High))), hn::Mul(k, set(kLn2Low)));
    auto sum = set(kExpSeries[0]);
    for (size_t term = 1; term < kExpSeries.size(); ++term) {
      sum = hn::Add(hn::Mul(sum, r), set(kExpSeries[term]));
    }
    const auto exponent =
        hn::ShiftLeft<52>(hn::Add(hn::BitCast(words, shifted), hn::Set(words, 1023)));
    const auto scaled = hn::Mul(sum, hn::BitCast(d, exponent));
    const auto value = hn::IfThenZeroElse(vanishes, scaled);
    const auto mass = hn::Add(hn::Mul(value, set(kWholeMass)), set(kMassRound));
    hn::StoreU(hn::Sub(hn::BitCast(words, mass), hn::BitCast(words, set(kMassRound))), words,
               masses + i);
  }
}
#endif

}  // namespace trireme::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace trireme {

HWY_EXPORT(MassesOfLanes);

void MassesOf(const double* exponents, size_t count, uint64_t* masses) {
  HWY_DYNAMIC_DISPATCH(MassesOfLanes)(exponents, count, masses);
}

}  // namespace trireme
#endif  // HWY_ONCE
