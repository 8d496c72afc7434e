// Stored weights to lanes of fp32, in registers. One reader a type:
//   kUnit          values decoded at a time (a multiple of 16); rows of block types hold whole
//                  units
//   kElementBytes  for types without blocks, else 0: their rows may begin and end anywhere
//   kBlockBytes, kUnitsPerBlock   how far apart units lie
//   ChunkEnd       a unit and those after it, up to here, have their scales prepared together
//   Prepare        brings the scales of a chunk of R rows to fp32 in memory, from where Decode
//                  broadcasts them; ScaleIndex finds those of a unit
//   Decode         values [unit * kUnit, + kUnit) of the row, in order
// decode_row.cc spells out the layouts; the values are the same bits.
#if defined(TRIREME_RUNTIME_OPS_CPU_WEIGHTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TRIREME_RUNTIME_OPS_CPU_WEIGHTS_INL_H_
#undef TRIREME_RUNTIME_OPS_CPU_WEIGHTS_INL_H_
#else
#define TRIREME_RUNTIME_OPS_CPU_WEIGHTS_INL_H_
#endif

#include "runtime/ops/cpu/lanes-inl.h"
#include "runtime/tensor/shape.h"

HWY_BEFORE_NAMESPACE();
namespace trireme::cpu::HWY_NAMESPACE {
#if TRI_CPU_KERNELS

HWY_INLINE IntLanes LoadBytes(const uint8_t* from) {
  IntLanes lanes;
  for (int i = 0; i < kParts; ++i) {
    lanes.part[i] = hn::PromoteTo(DI(), hn::LoadU(hn::Rebind<uint8_t, DF>(), from + i * kWidth));
  }
  return lanes;
}

HWY_INLINE IntLanes LoadSignedBytes(const uint8_t* from) {
  IntLanes lanes;
  const auto* bytes = reinterpret_cast<const int8_t*>(from);
  for (int i = 0; i < kParts; ++i) {
    lanes.part[i] = hn::PromoteTo(DI(), hn::LoadU(hn::Rebind<int8_t, DF>(), bytes + i * kWidth));
  }
  return lanes;
}

HWY_INLINE VF LoadHalves(const uint8_t* from) {
  const hn::Rebind<uint16_t, DF> d16;
  const auto bits = hn::LoadU(d16, reinterpret_cast<const uint16_t*>(from));
  return hn::PromoteTo(DF(), hn::BitCast(hn::Rebind<hwy::float16_t, DF>(), bits));
}

// One half, in every lane.
HWY_INLINE VF LoadScale(const uint8_t* from) {
  const hn::Rebind<uint16_t, DF> d16;
  uint16_t half;
  std::memcpy(&half, from, sizeof half);
  return hn::PromoteTo(DF(), hn::BitCast(hn::Rebind<hwy::float16_t, DF>(), hn::Set(d16, half)));
}

// Room for the scales of a chunk of R rows.
template <int R>
inline constexpr int64_t kScaleFloats = 16 * R;

// Low or high nibbles of 16 bytes.
template <bool kHigh>
HWY_INLINE VI Nibbles(VI bytes) {
  if constexpr (kHigh) return hn::ShiftRight<4>(bytes);
  return hn::And(bytes, hn::Set(DI(), 0xF));
}

HWY_INLINE VI Offset(VI q, int32_t offset) { return hn::Sub(q, hn::Set(DI(), offset)); }

HWY_INLINE Lanes ToFloat(const IntLanes& q) {
  Lanes out;
  for (int i = 0; i < kParts; ++i) out.part[i] = hn::ConvertTo(DF(), q.part[i]);
  return out;
}

HWY_INLINE Lanes Scale(const IntLanes& q, VF scale) {
  Lanes out;
  for (int i = 0; i < kParts; ++i) {
    out.part[i] = hn::Mul(hn::ConvertTo(DF(), q.part[i]), scale);
  }
  return out;
}

HWY_INLINE Lanes ScaleAndAdd(const IntLanes& q, VF scale, VF addend) {
  Lanes out;
  for (int i = 0; i < kParts; ++i) {
    out.part[i] = hn::MulAdd(hn::ConvertTo(DF(), q.part[i]), scale, addend);
  }
  return out;
}

template <int64_t kBytes>
struct ScalarWeights {
  static constexpr int64_t kUnit = 16;
  static constexpr int64_t kElementBytes = kBytes;
  static constexpr int64_t kBlockBytes = 16 * kBytes;
  static constexpr int64_t kUnitsPerBlock = 1;
  template <int R>
  static constexpr int64_t ChunkEnd(int64_t, int64_t end) {
    return end;
  }
  template <int R>
  static HWY_INLINE void Prepare(const uint8_t* const (&)[R], Range, float*) {}
  template <int R>
  static constexpr int64_t kScaleStride = 0;
  template <int R>
  static constexpr int64_t ScaleIndex(Range, int64_t) {
    return 0;
  }
  template <int R>
  static constexpr bool kSingle = false;
};

// Blocks of one unit that begin with their scales.
template <int64_t kBytes, int64_t kHalves>
struct SmallBlockWeights {
  static_assert(kHalves <= 4 && kBytes >= 8);  // Prepare reads four halves
  static constexpr int64_t kUnit = 32;
  static constexpr int64_t kElementBytes = 0;
  static constexpr int64_t kBlockBytes = kBytes;
  static constexpr int64_t kUnitsPerBlock = 1;
  template <int R>
  static constexpr int64_t ChunkEnd(int64_t unit, int64_t) {
    return unit + 1;
  }
  // Four halves of a row are converted and stored by one instruction each, and those that are no
  // scales are not looked at. Gathering halves of all rows, to convert sixteen at once, was slower:
  // a load that spans several small stores waits until they have left the store buffer.
  template <int R>
  static HWY_INLINE void Prepare(const uint8_t* const (&rows)[R], Range chunk, float* scales) {
    const hn::Rebind<hwy::float16_t, D4> d16;
    for (int r = 0; r < R; ++r) {
      const auto* halves = reinterpret_cast<const hwy::float16_t*>(rows[r] + chunk.begin * kBytes);
      hn::Store(hn::PromoteTo(D4(), hn::LoadU(d16, halves)), D4(), scales + 4 * r);
    }
  }
  template <int R>
  static constexpr int64_t kScaleStride = 4;
  template <int R>
  static constexpr int64_t ScaleIndex(Range, int64_t) {
    return 0;
  }
  template <int R>
  static constexpr bool kSingle = true;
};

struct F32Weights : ScalarWeights<4> {
  static HWY_INLINE void Decode(const uint8_t* row, int64_t unit, const float*, Lanes* out) {
    out[0] = LoadLanes(reinterpret_cast<const float*>(row) + unit * 16);
  }
};

struct F16Weights : ScalarWeights<2> {
  static HWY_INLINE void Decode(const uint8_t* row, int64_t unit, const float*, Lanes* out) {
    for (int i = 0; i < kParts; ++i) {
      out[0].part[i] = LoadHalves(row + 32 * unit + 2 * i * kWidth);
    }
  }
};

struct BF16Weights : ScalarWeights<2> {
  static HWY_INLINE void Decode(const uint8_t* row, int64_t unit, const float*, Lanes* out) {
    const hn::Rebind<uint16_t, DF> d16;
    const auto* from = reinterpret_cast<const uint16_t*>(row) + unit * 16;
    for (int i = 0; i < kParts; ++i) {
      const auto bits = hn::PromoteTo(DU(), hn::LoadU(d16, from + i * kWidth));
      out[0].part[i] = hn::BitCast(DF(), hn::ShiftLeft<16>(bits));
    }
  }
};

struct F8E4M3Weights : ScalarWeights<1> {
  static HWY_INLINE void Decode(const uint8_t* row, int64_t unit, const float*, Lanes* out) {
    const IntLanes bytes = LoadBytes(row + unit * 16);
    for (int i = 0; i < kParts; ++i) {
      const VI magnitude = hn::And(bytes.part[i], hn::Set(DI(), 0x7F));
      const VI sign = hn::ShiftLeft<24>(hn::And(bytes.part[i], hn::Set(DI(), 0x80)));
      // Exponent and mantissa in place, but biased as fp32: 2^120 too small, subnormals too.
      const VF scaled =
          hn::Mul(hn::BitCast(DF(), hn::ShiftLeft<20>(magnitude)), hn::Set(DF(), 0x1p120f));
      const VI nan = hn::Set(DI(), 0x7FC00000);
      const VI value =
          hn::IfThenElse(hn::Eq(magnitude, hn::Set(DI(), 0x7F)), nan, hn::BitCast(DI(), scaled));
      out[0].part[i] = hn::BitCast(DF(), hn::Or(value, sign));
    }
  }
};

struct Q8_0Weights : SmallBlockWeights<34, 1> {
  static HWY_INLINE void Decode(const uint8_t* row, int64_t unit, const float* scales, Lanes* out) {
    DecodeBy(hn::Set(DF(), scales[0]), row + unit * kBlockBytes, out);
  }
  static HWY_INLINE void DecodeBy(VF scale, const uint8_t* block, Lanes* out) {
    out[0] = Scale(LoadSignedBytes(block + 2), scale);
    out[1] = Scale(LoadSignedBytes(block + 18), scale);
  }
};

// The 16 values that a nibble can stand for, and the look-up of 16 of them by the low four bits of
// each lane: one shuffle in place of a mask, a conversion and a multiply-add. Only a register of 16
// lanes holds the whole table.
struct NibbleTable {
  VF values;

  HWY_INLINE Lanes operator()(VI nibbles) const {
    Lanes out;
#if HWY_TARGET == HWY_AVX3
    // The instruction ignores higher bits; Highway's own look-up wants them masked.
    out.part[0] = VF{_mm512_permutexvar_ps(nibbles.raw, values.raw)};
#else
    out.part[0] = hn::TableLookupLanes(values, hn::IndicesFromVec(DF(), Nibbles<false>(nibbles)));
#endif
    return out;
  }
};

// 32 values of 4 bits with a scale and an addend: w = scale * q + addend.
HWY_INLINE void DecodeNibbles(const IntLanes& low, const IntLanes& high, VF scale, VF addend,
                              Lanes* out) {
  if constexpr (kParts == 1) {
    const NibbleTable table{hn::MulAdd(hn::Iota(DF(), 0.0f), scale, addend)};
    out[0] = table(low.part[0]);
    out[1] = table(high.part[0]);
  } else {
    out[0] = ScaleAndAdd(low, scale, addend);
    out[1] = ScaleAndAdd(high, scale, addend);
  }
}

// Low and high nibbles of 16 bytes. What is for a table is not masked.
HWY_INLINE void SplitNibbles(const uint8_t* from, IntLanes& low, IntLanes& high) {
  const IntLanes bytes = LoadBytes(from);
  for (int i = 0; i < kParts; ++i) {
    low.part[i] = kParts == 1 ? bytes.part[i] : Nibbles<false>(bytes.part[i]);
    high.part[i] = Nibbles<true>(bytes.part[i]);
  }
}

struct Q4_0Weights : SmallBlockWeights<18, 1> {
  static HWY_INLINE void Decode(const uint8_t* row, int64_t unit, const float* scales, Lanes* out) {
    const VF scale = hn::Set(DF(), scales[0]);
    IntLanes low;
    IntLanes high;
    SplitNibbles(row + unit * kBlockBytes + 2, low, high);
    if constexpr (kParts == 1) {
      const NibbleTable table{hn::Mul(hn::Iota(DF(), -8.0f), scale)};
      out[0] = table(low.part[0]);
      out[1] = table(high.part[0]);
      return;
    }
    for (int i = 0; i < kParts; ++i) {
      low.part[i] = Offset(low.part[i], 8);
      high.part[i] = Offset(high.part[i], 8);
    }
    out[0] = Scale(low, scale);
    out[1] = Scale(high, scale);
  }
};

struct Q4_1Weights : SmallBlockWeights<20, 2> {
  static HWY_INLINE void Decode(const uint8_t* row, int64_t unit, const float* scales, Lanes* out) {
    IntLanes low;
    IntLanes high;
    SplitNibbles(row + unit * kBlockBytes + 4, low, high);
    DecodeNibbles(low, high, hn::Set(DF(), scales[0]), hn::Set(DF(), scales[1]), out);
  }
};

// Nibbles with a fifth bit each: bit i of `fifth_bits` belongs to value i of the 32.
HWY_INLINE void FiveBits(const uint8_t* nibbles, const uint8_t* fifth_bits, IntLanes* q) {
  uint32_t word;
  std::memcpy(&word, fifth_bits, sizeof word);
  const IntLanes bytes = LoadBytes(nibbles);
  const auto fifth = [word](int64_t first) HWY_ATTR {
    const auto shifted = hn::Shr(hn::Set(DU(), word), hn::Iota(DU(), static_cast<uint32_t>(first)));
    return hn::And(hn::BitCast(DI(), hn::ShiftLeft<4>(shifted)), hn::Set(DI(), 16));
  };
  for (int i = 0; i < kParts; ++i) {
    q[0].part[i] = hn::Or(Nibbles<false>(bytes.part[i]), fifth(i * kWidth));
    q[1].part[i] = hn::Or(Nibbles<true>(bytes.part[i]), fifth(16 + i * kWidth));
  }
}

struct Q5_0Weights : SmallBlockWeights<22, 1> {
  static HWY_INLINE void Decode(const uint8_t* row, int64_t unit, const float* scales, Lanes* out) {
    const uint8_t* block = row + unit * kBlockBytes;
    const VF scale = hn::Set(DF(), scales[0]);
    IntLanes q[2];
    FiveBits(block + 6, block + 2, q);
    for (int half = 0; half < 2; ++half) {
      for (int i = 0; i < kParts; ++i) q[half].part[i] = Offset(q[half].part[i], 16);
      out[half] = Scale(q[half], scale);
    }
  }
};

struct Q5_1Weights : SmallBlockWeights<24, 2> {
  static HWY_INLINE void Decode(const uint8_t* row, int64_t unit, const float* scales, Lanes* out) {
    const uint8_t* block = row + unit * kBlockBytes;
    const VF scale = hn::Set(DF(), scales[0]);
    const VF addend = hn::Set(DF(), scales[1]);
    IntLanes q[2];
    FiveBits(block + 8, block + 4, q);
    out[0] = ScaleAndAdd(q[0], scale, addend);
    out[1] = ScaleAndAdd(q[1], scale, addend);
  }
};

// Blocks of eight units with two scales each, which are a chunk; Derived::BlockScales brings them
// to fp32.
template <int64_t kBytes, class Derived>
struct LargeBlockWeights {
  static constexpr int64_t kUnit = 32;
  static constexpr int64_t kElementBytes = 0;
  static constexpr int64_t kBlockBytes = kBytes;
  static constexpr int64_t kUnitsPerBlock = 8;
  template <int R>
  static constexpr int64_t ChunkEnd(int64_t unit, int64_t end) {
    return std::min((unit / 8 + 1) * 8, end);
  }
  template <int R>
  static HWY_INLINE void Prepare(const uint8_t* const (&rows)[R], Range chunk, float* scales) {
    for (int r = 0; r < R; ++r) {
      StoreLanes(Derived::BlockScales(rows[r] + chunk.begin / 8 * kBytes), scales + 16 * r);
    }
  }
  template <int R>
  static constexpr int64_t kScaleStride = 16;
  template <int R>
  static constexpr int64_t ScaleIndex(Range, int64_t unit) {
    return unit % 8 * 2;
  }
  template <int R>
  static constexpr bool kSingle = false;
};

// Scale and negated minimum of the eight groups of a block of Q4_K or Q5_K, alternating.
HWY_INLINE Lanes GroupScales(const uint8_t* block) {
  uint32_t packed[3];
  std::memcpy(packed, block + 4, sizeof packed);
  constexpr uint32_t kLow6 = 0x3F3F3F3F;
  constexpr uint32_t kLow4 = 0x0F0F0F0F;
  constexpr uint32_t kLow2 = 0x03030303;
  const uint32_t scales[2] = {packed[0] & kLow6,
                              (packed[2] & kLow4) | (((packed[0] >> 6) & kLow2) << 4)};
  const uint32_t minima[2] = {packed[1] & kLow6,
                              ((packed[2] >> 4) & kLow4) | (((packed[1] >> 6) & kLow2) << 4)};
  HWY_ALIGN uint8_t alternating[16];
  for (int i = 0; i < 8; ++i) {
    alternating[2 * i] = static_cast<uint8_t>(scales[i / 4] >> (i % 4 * 8));
    alternating[2 * i + 1] = static_cast<uint8_t>(minima[i / 4] >> (i % 4 * 8));
  }
  // {d, -dmin} in every pair of lanes: the sign bit of the second half is flipped.
  uint32_t pair;
  std::memcpy(&pair, block, sizeof pair);
  const hn::Rebind<uint16_t, DF> d16;
  const hn::RepartitionToWide<decltype(d16)> d32;
  const auto halves =
      hn::BitCast(hn::Rebind<hwy::float16_t, DF>(), hn::Set(d32, pair ^ 0x80000000u));
  const VF factors = hn::PromoteTo(DF(), halves);
  Lanes out = ToFloat(LoadBytes(alternating));
  for (VF& part : out.part) part = hn::Mul(part, factors);
  return out;
}

// Nibbles of group `group` of 32: pairs of groups share 32 bytes.
HWY_INLINE void GroupNibbles(const uint8_t* nibbles, int64_t group, IntLanes* q) {
  const uint8_t* from = nibbles + group / 2 * 32;
  for (int half = 0; half < 2; ++half) {
    const IntLanes bytes = LoadBytes(from + 16 * half);
    for (int i = 0; i < kParts; ++i) {
      q[half].part[i] =
          group % 2 == 0 ? Nibbles<false>(bytes.part[i]) : Nibbles<true>(bytes.part[i]);
    }
  }
}

struct Q4_KWeights : LargeBlockWeights<144, Q4_KWeights> {
  static HWY_INLINE Lanes BlockScales(const uint8_t* block) { return GroupScales(block); }
  static HWY_INLINE void Decode(const uint8_t* row, int64_t unit, const float* scales, Lanes* out) {
    const uint8_t* block = row + unit / 8 * 144;
    IntLanes q[2];
    GroupNibbles(block + 16, unit % 8, q);
    DecodeNibbles(q[0], q[1], hn::Set(DF(), scales[0]), hn::Set(DF(), scales[1]), out);
  }
};

struct Q5_KWeights : LargeBlockWeights<176, Q5_KWeights> {
  static HWY_INLINE Lanes BlockScales(const uint8_t* block) { return GroupScales(block); }
  static HWY_INLINE void Decode(const uint8_t* row, int64_t unit, const float* scales, Lanes* out) {
    const uint8_t* block = row + unit / 8 * 176;
    const VF scale = hn::Set(DF(), scales[0]);
    const VF addend = hn::Set(DF(), scales[1]);
    IntLanes q[2];
    GroupNibbles(block + 48, unit % 8, q);
    const VI mask = hn::Set(DI(), 1 << (unit % 8));
    for (int half = 0; half < 2; ++half) {
      const IntLanes bits = LoadBytes(block + 16 + 16 * half);
      for (int i = 0; i < kParts; ++i) {
        const VI fifth =
            hn::IfThenElseZero(hn::Eq(hn::And(bits.part[i], mask), mask), hn::Set(DI(), 16));
        q[half].part[i] = hn::Or(q[half].part[i], fifth);
      }
      out[half] = ScaleAndAdd(q[half], scale, addend);
    }
  }
};

struct Q6_KWeights : LargeBlockWeights<210, Q6_KWeights> {
  static HWY_INLINE Lanes BlockScales(const uint8_t* block) {
    return Scale(LoadSignedBytes(block + 192), LoadScale(block + 208));
  }
  static HWY_INLINE void Decode(const uint8_t* row, int64_t unit, const float* scales, Lanes* out) {
    const uint8_t* block = row + unit / 8 * 210;
    const int64_t half_block = unit % 8 / 4;
    const int64_t quarter = unit % 4;
    const uint8_t* low = block + half_block * 64 + quarter % 2 * 32;
    const uint8_t* high = block + 128 + half_block * 32;
    for (int half = 0; half < 2; ++half) {
      const IntLanes nibbles = LoadBytes(low + 16 * half);
      IntLanes q = LoadBytes(high + 16 * half);
      for (int i = 0; i < kParts; ++i) {
        const VI upper =
            hn::And(hn::ShiftRightSame(q.part[i], static_cast<int>(2 * quarter)), hn::Set(DI(), 3));
        const VI lower =
            quarter < 2 ? Nibbles<false>(nibbles.part[i]) : Nibbles<true>(nibbles.part[i]);
        q.part[i] = Offset(hn::Or(lower, hn::ShiftLeft<4>(upper)), 32);
      }
      out[half] = Scale(q, hn::Set(DF(), scales[half]));
    }
  }
};

#endif
}  // namespace trireme::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
