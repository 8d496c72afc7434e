// A group of 32 weights of 16 outputs, as Dot4 takes them: weights are d * (u - 2^kOffsetBits) or,
// where there are minima, d * u + m, with unsigned integers u. One reader a type:
//   Form         how groups are multiplied
//   kOffsetBits
//   kGroupBytes  of a row, for a group
//   Load         group `group` of 16 rows. Readers may keep what several groups share
#if defined(TRIREME_RUNTIME_OPS_CPU_MATMUL_INT8_GROUPS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TRIREME_RUNTIME_OPS_CPU_MATMUL_INT8_GROUPS_INL_H_
#undef TRIREME_RUNTIME_OPS_CPU_MATMUL_INT8_GROUPS_INL_H_
#else
#define TRIREME_RUNTIME_OPS_CPU_MATMUL_INT8_GROUPS_INL_H_
#endif

#include "runtime/ops/cpu/matmul/int8_dot-inl.h"

TRI_BEFORE_INT8();
namespace trireme::cpu::HWY_NAMESPACE {
#if TRI_CPU_KERNELS

// Bits of u, at most; whether there are minima; parts of a group with a d each.
template <int kMostBits, bool kWithMinima, int kParted = 1>
struct GroupForm {
  static constexpr int kBits = kMostBits;
  static constexpr bool kMinima = kWithMinima;
  static constexpr int kHalves = kParted;
};

struct GroupTile {
  ByteLanes quads[8];  // values 4j to 4j + 3
  Lanes scales[2];     // of the halves; the first of all where they have the same
  Lanes minima;
};

// Blocks of one group.
template <int64_t kBytes>
struct SmallBlocks {
  static constexpr int64_t kGroupBytes = kBytes;

  static HWY_INLINE StridedRows At(const StridedRows& rows, int64_t group) {
    return {rows.first + group * kBytes, rows.stride};
  }
};

HWY_INLINE VF ToFloats(hn::Vec<hn::Rebind<uint16_t, DF>> halves) {
  return hn::PromoteTo(DF(), hn::BitCast(hn::Rebind<hwy::float16_t, DF>(), halves));
}

// The half at `offset` of each row.
HWY_INLINE Lanes GatherHalves(const StridedRows& rows, int64_t offset) {
  Lanes out;
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
  // Put together in registers: a load that spans small stores would wait until they have retired.
  const auto eight = [=](int64_t first) TRI_INT8_ATTR {
    const auto at = [=](int64_t i) TRI_INT8_ATTR {
      int16_t half;
      std::memcpy(&half, rows.At(first + i) + offset, sizeof half);
      return half;
    };
    __m128i halves = _mm_cvtsi32_si128(static_cast<uint16_t>(at(0)));
    halves = _mm_insert_epi16(halves, at(1), 1);
    halves = _mm_insert_epi16(halves, at(2), 2);
    halves = _mm_insert_epi16(halves, at(3), 3);
    halves = _mm_insert_epi16(halves, at(4), 4);
    halves = _mm_insert_epi16(halves, at(5), 5);
    halves = _mm_insert_epi16(halves, at(6), 6);
    return _mm_insert_epi16(halves, at(7), 7);
  };
  out.part[0] = VF{_mm512_cvtph_ps(_mm256_set_m128i(eight(8), eight(0)))};
#else
  HWY_ALIGN uint16_t halves[16];
  for (int r = 0; r < 16; ++r) std::memcpy(&halves[r], rows.At(r) + offset, sizeof halves[r]);
  for (int i = 0; i < kParts; ++i) {
    out.part[i] = ToFloats(hn::Load(hn::Rebind<uint16_t, DF>(), halves + i * kWidth));
  }
#endif
  return out;
}

// The two halves that each row begins with.
HWY_INLINE void GatherPairs(const StridedRows& rows, Lanes& first, Lanes& second) {
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
  const auto four = [=](int64_t row) TRI_INT8_ATTR {
    const auto at = [=](int64_t i) TRI_INT8_ATTR {
      int32_t pair;
      std::memcpy(&pair, rows.At(row + i), sizeof pair);
      return pair;
    };
    __m128i pairs = _mm_cvtsi32_si128(at(0));
    pairs = _mm_insert_epi32(pairs, at(1), 1);
    pairs = _mm_insert_epi32(pairs, at(2), 2);
    return _mm_insert_epi32(pairs, at(3), 3);
  };
  const __m512i pairs =
      _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_set_m128i(four(4), four(0))),
                         _mm256_set_m128i(four(12), four(8)), 1);
  first.part[0] = VF{_mm512_cvtph_ps(_mm512_cvtepi32_epi16(pairs))};
  second.part[0] = VF{_mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(pairs, 16)))};
#else
  first = GatherHalves(rows, 0);
  second = GatherHalves(rows, 2);
#endif
}

// Low and high nibbles of 16 bytes of each row: values 0 to 15 and 16 to 31.
HWY_INLINE void LoadNibbles(const StridedRows& rows, int64_t offset, ByteLanes* quads) {
  ByteLanes bytes[4];
  Transpose(LoadRows(rows, offset), bytes);
  const VB low = hn::Set(DB(), 0xF);
  const hn::Repartition<uint16_t, DF> d16;
  for (int j = 0; j < 4; ++j) {
    for (int i = 0; i < kParts; ++i) {
      const VB both = bytes[j].part[i];
      quads[j].part[i] = hn::And(both, low);
      quads[4 + j].part[i] =
          hn::And(hn::BitCast(DB(), hn::ShiftRight<4>(hn::BitCast(d16, both))), low);
    }
  }
}

struct Q8_0Groups : SmallBlocks<34> {
  using Form = GroupForm<8, false>;
  static constexpr int kOffsetBits = 7;
  HWY_INLINE void Load(const StridedRows& row, int64_t group, GroupTile& to) {
    const StridedRows rows = At(row, group);
    Transpose(LoadRows(rows, 2), to.quads);
    Transpose(LoadRows(rows, 18), to.quads + 4);
    const VB sign = hn::Set(DB(), 0x80);
    for (ByteLanes& quad : to.quads) {
      for (VB& part : quad.part) part = hn::Xor(part, sign);
    }
    to.scales[0] = GatherHalves(rows, 0);
  }
};

struct Q4_0Groups : SmallBlocks<18> {
  using Form = GroupForm<7, false>;
  static constexpr int kOffsetBits = 3;
  HWY_INLINE void Load(const StridedRows& row, int64_t group, GroupTile& to) {
    const StridedRows rows = At(row, group);
    LoadNibbles(rows, 2, to.quads);
    to.scales[0] = GatherHalves(rows, 0);
  }
};

struct Q4_1Groups : SmallBlocks<20> {
  using Form = GroupForm<7, true>;
  static constexpr int kOffsetBits = 0;
  HWY_INLINE void Load(const StridedRows& row, int64_t group, GroupTile& to) {
    const StridedRows rows = At(row, group);
    LoadNibbles(rows, 4, to.quads);
    GatherPairs(rows, to.scales[0], to.minima);
  }
};

#endif
}  // namespace trireme::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
