// Which instruction sets the CPU kernels are compiled for. Included before any Highway header.
//
// A kernel needs one correctly rounded fused multiply-add, or its results would differ: targets
// without it (SSE4 and below) are compiled to nothing, and a processor without it is refused at
// start. Scalable vectors cannot be members of a struct. AVX3_DL adds nothing that fp32 arithmetic
// uses; files with a use for it (VNNI) define TRI_WITH_AVX3_DL first.
#pragma once

#ifdef TRI_WITH_AVX3_DL
#define HWY_WANT_AVX3_DL
#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#else
#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#endif

// True while Highway compiles for a target that has kernels.
#define TRI_CPU_KERNELS ((HWY_TARGET & (HWY_AVX2 | HWY_AVX3 | HWY_AVX3_DL | HWY_NEON)) != 0)
