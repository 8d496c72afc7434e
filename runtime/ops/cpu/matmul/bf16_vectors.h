// Vectors of BF16 pairs and of their fp32 sums, in the compiler's own intrinsics: Highway has a
// target with the BF16 dot product from 1.1 on only. Code with them stands between TRI_BF16_BEGIN
// and TRI_BF16_END, and runs after a look at the processor.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

// Highway's macros come from here.
#include "hwy/base.h"

#if defined(__x86_64__)
#define TRI_BF16_KERNELS 1
#define TRI_BF16_BEGIN HWY_PUSH_ATTRIBUTES("avx512f,avx512vl,avx512bw,avx512dq,avx512bf16")
#define TRI_BF16_END HWY_POP_ATTRIBUTES

#include <immintrin.h>

#if defined(__GNUC__) && !defined(__clang__)
// GCC 12 sees an uninitialized variable in its own intrinsics (bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

TRI_BF16_BEGIN
namespace trireme::cpu {

#define TRI_VECTOR_INLINE static inline __attribute__((always_inline))

struct Vector16 {
  using Sum = __m512;
  using Pair = __m512i;  // 16 pairs
  static constexpr int kLanes = 16;

  TRI_VECTOR_INLINE Sum Zero() { return _mm512_setzero_ps(); }
  TRI_VECTOR_INLINE Sum LoadSum(const float* from) { return _mm512_loadu_ps(from); }
  TRI_VECTOR_INLINE void Store(Sum sum, float* to) { _mm512_storeu_ps(to, sum); }
  TRI_VECTOR_INLINE Pair Load(const uint32_t* from) { return _mm512_loadu_si512(from); }
  // The pair at `from`, which need not be aligned, in every lane.
  TRI_VECTOR_INLINE Pair Broadcast(const void* from) {
    int pair;
    std::memcpy(&pair, from, sizeof pair);
    return _mm512_set1_epi32(pair);
  }
  TRI_VECTOR_INLINE Sum Dot(Pair a, Pair b, Sum sum) {
    return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);  // NOLINT(google-readability-casting)
  }
  TRI_VECTOR_INLINE Pair Round(Sum low, Sum high) {
    return (Pair)_mm512_cvtne2ps_pbh(high, low);  // NOLINT(google-readability-casting)
  }
};

struct Vector8 {
  using Sum = __m256;
  using Pair = __m256i;
  static constexpr int kLanes = 8;

  TRI_VECTOR_INLINE Sum Zero() { return _mm256_setzero_ps(); }
  TRI_VECTOR_INLINE Sum LoadSum(const float* from) { return _mm256_loadu_ps(from); }
  TRI_VECTOR_INLINE void Store(Sum sum, float* to) { _mm256_storeu_ps(to, sum); }
  TRI_VECTOR_INLINE Pair Load(const uint32_t* from) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  }
  TRI_VECTOR_INLINE Pair Broadcast(const void* from) {
    int pair;
    std::memcpy(&pair, from, sizeof pair);
    return _mm256_set1_epi32(pair);
  }
  TRI_VECTOR_INLINE Sum Dot(Pair a, Pair b, Sum sum) {
    return _mm256_dpbf16_ps(sum, (__m256bh)a, (__m256bh)b);  // NOLINT(google-readability-casting)
  }
};

TRI_VECTOR_INLINE __mmask16 MaskOfFirst16(int64_t count) {
  return static_cast<__mmask16>((1u << std::clamp<int64_t>(count, 0, 16)) - 1);
}
TRI_VECTOR_INLINE __mmask32 MaskOfFirst32(int64_t count) {
  return static_cast<__mmask32>((uint64_t{1} << std::clamp<int64_t>(count, 0, 32)) - 1);
}

// Word j of vector i becomes word i of vector j.
TRI_VECTOR_INLINE void Transpose(__m512i (&v)[16]) {
  __m512i t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    t[2 * i] = _mm512_unpacklo_epi32(v[2 * i], v[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_epi32(v[2 * i], v[2 * i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    v[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    v[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    v[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    v[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(v[i], v[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(v[i], v[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4(v[i + 8], v[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(v[i + 8], v[i + 12], 0xdd);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    v[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    v[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
    v[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
    v[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
  }
}

#undef TRI_VECTOR_INLINE

}  // namespace trireme::cpu
TRI_BF16_END
#else
#define TRI_BF16_KERNELS 0
#endif
