// Four bytes of each of 16 outputs as vector registers, and their products with four bytes of a
// token: one instruction where the processor has VNNI, and the same exact integers elsewhere.
#if defined(TRIREME_RUNTIME_OPS_CPU_MATMUL_INT8_DOT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TRIREME_RUNTIME_OPS_CPU_MATMUL_INT8_DOT_INL_H_
#undef TRIREME_RUNTIME_OPS_CPU_MATMUL_INT8_DOT_INL_H_
#else
#define TRIREME_RUNTIME_OPS_CPU_MATMUL_INT8_DOT_INL_H_
#endif

#include "runtime/ops/cpu/lanes-inl.h"

// Highway 1.0.3 knows that AVX3_DL has VNNI, but not its intrinsics. In place of
// HWY_BEFORE_NAMESPACE and, on lambdas, HWY_ATTR.
#undef TRI_BEFORE_INT8
#undef TRI_INT8_ATTR
#if HWY_TARGET == HWY_AVX3_DL
#define TRI_BEFORE_INT8() HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR ",avx512vnni") static_assert(true, "")
#define TRI_INT8_ATTR __attribute__((target(HWY_TARGET_STR ",avx512vnni")))
#else
#define TRI_BEFORE_INT8 HWY_BEFORE_NAMESPACE
#define TRI_INT8_ATTR HWY_ATTR
#endif

TRI_BEFORE_INT8();
namespace trireme::cpu::HWY_NAMESPACE {
#if TRI_CPU_KERNELS

using DB = hn::Repartition<uint8_t, DF>;
using VB = hn::Vec<DB>;

// Bytes 4i to 4i + 3 are output i's.
struct ByteLanes {
  VB part[kParts];
};

HWY_INLINE IntLanes SetLanes(int32_t value) {
  IntLanes lanes;
  for (VI& part : lanes.part) part = hn::Set(DI(), value);
  return lanes;
}

HWY_INLINE ByteLanes LoadByteLanes(const uint8_t* from) {
  ByteLanes lanes;
  for (int i = 0; i < kParts; ++i) lanes.part[i] = hn::LoadU(DB(), from + i * 4 * kWidth);
  return lanes;
}

HWY_INLINE void StoreByteLanes(const ByteLanes& lanes, uint8_t* to) {
  for (int i = 0; i < kParts; ++i) hn::StoreU(lanes.part[i], DB(), to + i * 4 * kWidth);
}

// Four bytes of a token, to be multiplied by those of every output.
HWY_INLINE VI LoadQuad(const int8_t* from) {
  int32_t quad;
  std::memcpy(&quad, from, sizeof quad);
  return hn::Set(DI(), quad);
}

// sum[i] += the products of bytes 4i to 4i + 3. Weights are unsigned, of at most kBits bits;
// activations are in [-127, 127].
template <int kBits>
HWY_INLINE VI Dot4(VB weights, VI quad, VI sum) {
#if HWY_TARGET == HWY_AVX3_DL
  return VI{_mm512_dpbusd_epi32(sum.raw, weights.raw, quad.raw)};
#elif HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2
  const hn::Repartition<int16_t, DF> d16;
  const auto ones = hn::Set(d16, 1);
  const auto pairs = [&](VB bytes) TRI_INT8_ATTR {
#if HWY_TARGET == HWY_AVX3
    const hn::Vec<decltype(d16)> products{_mm512_maddubs_epi16(bytes.raw, quad.raw)};
    return VI{_mm512_madd_epi16(products.raw, ones.raw)};
#else
    const hn::Vec<decltype(d16)> products{_mm256_maddubs_epi16(bytes.raw, quad.raw)};
    return VI{_mm256_madd_epi16(products.raw, ones.raw)};
#endif
  };
  // Two products of seven bits each fit 16 bits with a sign, of eight bits they do not.
  if constexpr (kBits < 8) return hn::Add(sum, pairs(weights));
  const VB even = hn::BitCast(DB(), hn::Set(d16, 0xFF));
  return hn::Add(sum, hn::Add(pairs(hn::And(weights, even)), pairs(hn::AndNot(even, weights))));
#else
  const VI bytes = hn::BitCast(DI(), weights);
  const VI low = hn::Set(DI(), 0xFF);
  sum = hn::Add(sum, hn::Mul(hn::And(bytes, low), hn::ShiftRight<24>(hn::ShiftLeft<24>(quad))));
  sum = hn::Add(sum, hn::Mul(hn::And(hn::ShiftRight<8>(bytes), low),
                             hn::ShiftRight<24>(hn::ShiftLeft<16>(quad))));
  sum = hn::Add(sum, hn::Mul(hn::And(hn::ShiftRight<16>(bytes), low),
                             hn::ShiftRight<24>(hn::ShiftLeft<8>(quad))));
  return hn::Add(sum, hn::Mul(hn::And(hn::ShiftRight<24>(bytes), low), hn::ShiftRight<24>(quad)));
#endif
}

template <int kBits>
HWY_INLINE void Dot4(const ByteLanes& weights, VI quad, IntLanes& sum) {
  for (int i = 0; i < kParts; ++i) {
    sum.part[i] = Dot4<kBits>(weights.part[i], quad, sum.part[i]);
  }
}

// Rows of a matrix, from where their next group begins.
struct StridedRows {
  const uint8_t* first;
  int64_t stride;

  HWY_INLINE const uint8_t* At(int64_t row) const { return first + row * stride; }
};

// Sixteen bytes of each of 16 rows, four to a block of 128 bits: block b of lanes[i] has those of
// row 4b + i.
struct RowBytes16 {
  ByteLanes lanes[4];
};

HWY_INLINE RowBytes16 LoadRows(const StridedRows& rows, int64_t offset) {
  RowBytes16 loaded;
  for (int i = 0; i < 4; ++i) {
    const uint8_t* const from[4] = {rows.At(i) + offset, rows.At(4 + i) + offset,
                                    rows.At(8 + i) + offset, rows.At(12 + i) + offset};
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
    const auto load = [](const uint8_t* at) TRI_INT8_ATTR {
      return _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
    };
    __m512i blocks = _mm512_castsi128_si512(load(from[0]));
    blocks = _mm512_mask_broadcast_i32x4(blocks, 0x00F0, load(from[1]));
    blocks = _mm512_mask_broadcast_i32x4(blocks, 0x0F00, load(from[2]));
    loaded.lanes[i].part[0] = VB{_mm512_mask_broadcast_i32x4(blocks, 0xF000, load(from[3]))};
#else
    const hn::FixedTag<uint8_t, 16> d16;
    for (int part = 0; part < kParts; ++part) {
      if constexpr (kParts == 2) {
        loaded.lanes[i].part[part] =
            hn::Combine(DB(), hn::LoadU(d16, from[2 * part + 1]), hn::LoadU(d16, from[2 * part]));
      } else {
        loaded.lanes[i].part[part] = hn::LoadU(DB(), from[part]);
      }
    }
#endif
  }
  return loaded;
}

// Bytes 4j to 4j + 3 of every row, in the order of rows, to quads[j].
HWY_INLINE void Transpose(const RowBytes16& rows, ByteLanes* quads) {
  const hn::Repartition<uint32_t, DF> d32;
  const hn::Repartition<uint64_t, DF> d64;
  const auto words = [=](VB bytes) TRI_INT8_ATTR { return hn::BitCast(d32, bytes); };
  for (int part = 0; part < kParts; ++part) {
    const auto a = words(rows.lanes[0].part[part]);
    const auto b = words(rows.lanes[1].part[part]);
    const auto c = words(rows.lanes[2].part[part]);
    const auto d = words(rows.lanes[3].part[part]);
    const auto ab_low = hn::BitCast(d64, hn::InterleaveLower(d32, a, b));
    const auto ab_high = hn::BitCast(d64, hn::InterleaveUpper(d32, a, b));
    const auto cd_low = hn::BitCast(d64, hn::InterleaveLower(d32, c, d));
    const auto cd_high = hn::BitCast(d64, hn::InterleaveUpper(d32, c, d));
    quads[0].part[part] = hn::BitCast(DB(), hn::InterleaveLower(d64, ab_low, cd_low));
    quads[1].part[part] = hn::BitCast(DB(), hn::InterleaveUpper(d64, ab_low, cd_low));
    quads[2].part[part] = hn::BitCast(DB(), hn::InterleaveLower(d64, ab_high, cd_high));
    quads[3].part[part] = hn::BitCast(DB(), hn::InterleaveUpper(d64, ab_high, cd_high));
  }
}

#endif
}  // namespace trireme::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
