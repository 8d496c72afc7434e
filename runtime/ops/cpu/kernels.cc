#include "runtime/ops/cpu/kernels.h"

#include "runtime/ops/cpu/targets.h"
// Highway's own headers come after targets.h.
#include "hwy/highway.h"
#include "hwy/targets.h"

namespace trireme::cpu {

#define TRI_KERNEL_TABLE(target)                                                                   \
  KernelTable {                                                                                    \
    target::Linear, target::LinearInputMajor, target::Attention, target::StoreKv, target::RmsNorm, \
        target::Rope, target::SiluMul, target::Add, target::Embed                                  \
  }

#define TRI_INT8_KERNELS(target) \
  Int8Kernels { target::QuantizeRows, target::LinearInt8 }

std::vector<Target> SupportedTargets() {
  std::vector<Target> targets;
  [[maybe_unused]] const int64_t supported = hwy::SupportedTargets();
#if HWY_TARGETS & HWY_AVX3
  // The fp32 kernels have no use for what AVX3_DL adds.
  if (supported & HWY_AVX3_DL) {
    targets.push_back(
        {"AVX3_DL", TRI_KERNEL_TABLE(N_AVX3), TRI_INT8_KERNELS(N_AVX3_DL), SupportedBf16Kernels()});
  }
  if (supported & HWY_AVX3) {
    targets.push_back({"AVX3", TRI_KERNEL_TABLE(N_AVX3), TRI_INT8_KERNELS(N_AVX3)});
  }
#endif
#if HWY_TARGETS & HWY_AVX2
  if (supported & HWY_AVX2) {
    targets.push_back({"AVX2", TRI_KERNEL_TABLE(N_AVX2), TRI_INT8_KERNELS(N_AVX2)});
  }
#endif
#if HWY_TARGETS & HWY_NEON
  if (supported & HWY_NEON) {
    targets.push_back({"NEON", TRI_KERNEL_TABLE(N_NEON), TRI_INT8_KERNELS(N_NEON)});
  }
#endif
  return targets;
}

}  // namespace trireme::cpu
