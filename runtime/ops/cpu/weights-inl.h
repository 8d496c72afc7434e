// Stored weights to lanes of fp32, in registers. One reader a type:
//   kUnit          values decoded at a time (a multiple of 16); rows of block types hold whole
//   units kElementBytes  for types without blocks, else 0: their rows may begin and end anywhere
//   Decode         values [unit * kUnit, + kUnit) of the row, in order
// decode_row.cc spells out the layouts; the values are the same bits.
#if defined(TRIREME_RUNTIME_OPS_CPU_WEIGHTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TRIREME_RUNTIME_OPS_CPU_WEIGHTS_INL_H_
#undef TRIREME_RUNTIME_OPS_CPU_WEIGHTS_INL_H_
#else
#define TRIREME_RUNTIME_OPS_CPU_WEIGHTS_INL_H_
#endif

#include "runtime/base/check.h"
#include "runtime/ops/cpu/lanes-inl.h"
#include "runtime/tensor/dtype.h"

HWY_BEFORE_NAMESPACE();
namespace trireme::cpu::HWY_NAMESPACE {
#if TRI_CPU_KERNELS

using DI = hn::RebindToSigned<DF>;
using VI = hn::Vec<DI>;
using DU = hn::RebindToUnsigned<DF>;

// 16 integers, as lanes.
struct IntLanes {
  VI part[kParts];
};

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

// One stored half in every lane.
HWY_INLINE VF BroadcastHalf(const uint8_t* from) {
  uint16_t bits;
  std::memcpy(&bits, from, sizeof bits);
  const hn::Rebind<uint16_t, DF> d16;
  return hn::PromoteTo(DF(), hn::BitCast(hn::Rebind<hwy::float16_t, DF>(), hn::Set(d16, bits)));
}

// Low or high nibbles of 16 bytes.
template <bool kHigh>
HWY_INLINE VI Nibbles(VI bytes) {
  if constexpr (kHigh) return hn::ShiftRight<4>(bytes);
  return hn::And(bytes, hn::Set(DI(), 0xF));
}

HWY_INLINE VI Offset(VI q, int32_t offset) { return hn::Sub(q, hn::Set(DI(), offset)); }

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

struct F32Weights {
  static constexpr int64_t kUnit = 16;
  static constexpr int64_t kElementBytes = 4;
  static HWY_INLINE void Decode(const uint8_t* row, int64_t unit, Lanes* out) {
    out[0] = LoadLanes(reinterpret_cast<const float*>(row) + unit * 16);
  }
};

struct F16Weights {
  static constexpr int64_t kUnit = 16;
  static constexpr int64_t kElementBytes = 2;
  static HWY_INLINE void Decode(const uint8_t* row, int64_t unit, Lanes* out) {
    for (int i = 0; i < kParts; ++i) {
      out[0].part[i] = LoadHalves(row + 32 * unit + 2 * i * kWidth);
    }
  }
};

struct BF16Weights {
  static constexpr int64_t kUnit = 16;
  static constexpr int64_t kElementBytes = 2;
  static HWY_INLINE void Decode(const uint8_t* row, int64_t unit, Lanes* out) {
    const hn::Rebind<uint16_t, DF> d16;
    const auto* from = reinterpret_cast<const uint16_t*>(row) + unit * 16;
    for (int i = 0; i < kParts; ++i) {
      const auto bits = hn::PromoteTo(DU(), hn::LoadU(d16, from + i * kWidth));
      out[0].part[i] = hn::BitCast(DF(), hn::ShiftLeft<16>(bits));
    }
  }
};

struct F8E4M3Weights {
  static constexpr int64_t kUnit = 16;
  static constexpr int64_t kElementBytes = 1;
  static HWY_INLINE void Decode(const uint8_t* row, int64_t unit, Lanes* out) {
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

struct Q8_0Weights {
  static constexpr int64_t kUnit = 32;
  static constexpr int64_t kElementBytes = 0;
  static HWY_INLINE void Decode(const uint8_t* row, int64_t unit, Lanes* out) {
    const uint8_t* block = row + unit * 34;
    const VF scale = BroadcastHalf(block);
    out[0] = Scale(LoadSignedBytes(block + 2), scale);
    out[1] = Scale(LoadSignedBytes(block + 18), scale);
  }
};

// 32 values of 4 bits with a scale and an addend: w = scale * q + addend.
HWY_INLINE void DecodeNibbles(const uint8_t* nibbles, VF scale, VF addend, Lanes* out) {
  const IntLanes bytes = LoadBytes(nibbles);
  IntLanes low;
  IntLanes high;
  for (int i = 0; i < kParts; ++i) {
    low.part[i] = Nibbles<false>(bytes.part[i]);
    high.part[i] = Nibbles<true>(bytes.part[i]);
  }
  out[0] = ScaleAndAdd(low, scale, addend);
  out[1] = ScaleAndAdd(high, scale, addend);
}

struct Q4_0Weights {
  static constexpr int64_t kUnit = 32;
  static constexpr int64_t kElementBytes = 0;
  static HWY_INLINE void Decode(const uint8_t* row, int64_t unit, Lanes* out) {
    const uint8_t* block = row + unit * 18;
    const VF scale = BroadcastHalf(block);
    const IntLanes bytes = LoadBytes(block + 2);
    IntLanes low;
    IntLanes high;
    for (int i = 0; i < kParts; ++i) {
      low.part[i] = Offset(Nibbles<false>(bytes.part[i]), 8);
      high.part[i] = Offset(Nibbles<true>(bytes.part[i]), 8);
    }
    out[0] = Scale(low, scale);
    out[1] = Scale(high, scale);
  }
};

struct Q4_1Weights {
  static constexpr int64_t kUnit = 32;
  static constexpr int64_t kElementBytes = 0;
  static HWY_INLINE void Decode(const uint8_t* row, int64_t unit, Lanes* out) {
    const uint8_t* block = row + unit * 20;
    DecodeNibbles(block + 4, BroadcastHalf(block), BroadcastHalf(block + 2), out);
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

struct Q5_0Weights {
  static constexpr int64_t kUnit = 32;
  static constexpr int64_t kElementBytes = 0;
  static HWY_INLINE void Decode(const uint8_t* row, int64_t unit, Lanes* out) {
    const uint8_t* block = row + unit * 22;
    const VF scale = BroadcastHalf(block);
    IntLanes q[2];
    FiveBits(block + 6, block + 2, q);
    for (int half = 0; half < 2; ++half) {
      for (int i = 0; i < kParts; ++i) q[half].part[i] = Offset(q[half].part[i], 16);
      out[half] = Scale(q[half], scale);
    }
  }
};

struct Q5_1Weights {
  static constexpr int64_t kUnit = 32;
  static constexpr int64_t kElementBytes = 0;
  static HWY_INLINE void Decode(const uint8_t* row, int64_t unit, Lanes* out) {
    const uint8_t* block = row + unit * 24;
    const VF scale = BroadcastHalf(block);
    const VF addend = BroadcastHalf(block + 2);
    IntLanes q[2];
    FiveBits(block + 8, block + 4, q);
    out[0] = ScaleAndAdd(q[0], scale, addend);
    out[1] = ScaleAndAdd(q[1], scale, addend);
  }
};

// Scale and negated minimum of one group of 32 in a block of Q4_K or Q5_K.
struct GroupScale {
  VF scale;
  VF addend;
};
HWY_INLINE GroupScale LoadGroupScale(const uint8_t* block, int64_t group) {
  const uint8_t* packed = block + 4;
  int scale = packed[group] & 63;
  int minimum = packed[group + 4] & 63;
  if (group >= 4) {
    scale = (packed[group + 4] & 0xF) | ((packed[group - 4] >> 6) << 4);
    minimum = (packed[group + 4] >> 4) | ((packed[group] >> 6) << 4);
  }
  const DF d;
  return {hn::Mul(BroadcastHalf(block), hn::Set(d, static_cast<float>(scale))),
          hn::Neg(hn::Mul(BroadcastHalf(block + 2), hn::Set(d, static_cast<float>(minimum))))};
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

struct Q4_KWeights {
  static constexpr int64_t kUnit = 32;
  static constexpr int64_t kElementBytes = 0;
  static HWY_INLINE void Decode(const uint8_t* row, int64_t unit, Lanes* out) {
    const uint8_t* block = row + unit / 8 * 144;
    const GroupScale group = LoadGroupScale(block, unit % 8);
    IntLanes q[2];
    GroupNibbles(block + 16, unit % 8, q);
    out[0] = ScaleAndAdd(q[0], group.scale, group.addend);
    out[1] = ScaleAndAdd(q[1], group.scale, group.addend);
  }
};

struct Q5_KWeights {
  static constexpr int64_t kUnit = 32;
  static constexpr int64_t kElementBytes = 0;
  static HWY_INLINE void Decode(const uint8_t* row, int64_t unit, Lanes* out) {
    const uint8_t* block = row + unit / 8 * 176;
    const GroupScale group = LoadGroupScale(block, unit % 8);
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
      out[half] = ScaleAndAdd(q[half], group.scale, group.addend);
    }
  }
};

struct Q6_KWeights {
  static constexpr int64_t kUnit = 32;
  static constexpr int64_t kElementBytes = 0;
  static HWY_INLINE void Decode(const uint8_t* row, int64_t unit, Lanes* out) {
    const uint8_t* block = row + unit / 8 * 210;
    const int64_t half_block = unit % 8 / 4;
    const int64_t quarter = unit % 4;
    const uint8_t* low = block + half_block * 64 + quarter % 2 * 32;
    const uint8_t* high = block + 128 + half_block * 32;
    const VF d = BroadcastHalf(block + 208);
    for (int half = 0; half < 2; ++half) {
      const auto group_scale = static_cast<int8_t>(block[192 + unit % 8 * 2 + half]);
      const IntLanes nibbles = LoadBytes(low + 16 * half);
      IntLanes q = LoadBytes(high + 16 * half);
      for (int i = 0; i < kParts; ++i) {
        const VI upper =
            hn::And(hn::ShiftRightSame(q.part[i], static_cast<int>(2 * quarter)), hn::Set(DI(), 3));
        const VI lower =
            quarter < 2 ? Nibbles<false>(nibbles.part[i]) : Nibbles<true>(nibbles.part[i]);
        q.part[i] = Offset(hn::Or(lower, hn::ShiftLeft<4>(upper)), 32);
      }
      out[half] = Scale(q, hn::Mul(d, hn::Set(DF(), static_cast<float>(group_scale))));
    }
  }
};

// Calls body(reader) with the reader of `dtype`: the one place where a tag becomes a type.
template <class Body>
HWY_INLINE void WithWeights(DType dtype, const Body& body) {
  switch (dtype) {
    case DType::kF32:
      return body(F32Weights());
    case DType::kF16:
      return body(F16Weights());
    case DType::kBF16:
      return body(BF16Weights());
    case DType::kF8E4M3:
      return body(F8E4M3Weights());
    case DType::kQ8_0:
      return body(Q8_0Weights());
    case DType::kQ4_0:
      return body(Q4_0Weights());
    case DType::kQ4_1:
      return body(Q4_1Weights());
    case DType::kQ5_0:
      return body(Q5_0Weights());
    case DType::kQ5_1:
      return body(Q5_1Weights());
    case DType::kQ4_K:
      return body(Q4_KWeights());
    case DType::kQ5_K:
      return body(Q5_KWeights());
    case DType::kQ6_K:
      return body(Q6_KWeights());
    case DType::kI32:
      break;
  }
  TRI_CHECK(false) << Name(dtype) << " is not a weight type";
}

// `count` < 16 values of a type without blocks, starting at value 0 of `from`, padded with zeros.
template <class W>
HWY_INLINE Lanes DecodeTail(const uint8_t* from, int64_t count) {
  static_assert(W::kElementBytes > 0 && W::kUnit == 16);
  HWY_ALIGN uint8_t padded[64] = {};
  std::copy_n(from, count * W::kElementBytes, padded);
  Lanes out;
  W::Decode(padded, 0, &out);
  return out;
}

// Columns [columns) of a stored row to memory. Those of block types begin and end on units; for the
// others the last store is padded with zeros to 16 values.
template <class W>
HWY_INLINE void DecodeColumns(const uint8_t* row, Range columns, float* out) {
  int64_t unit = 0;
  if constexpr (W::kElementBytes > 0) {
    row += columns.begin * W::kElementBytes;
  } else {
    unit = columns.begin / W::kUnit;
  }
  int64_t left = columns.size();
  for (; left >= W::kUnit; left -= W::kUnit, ++unit, out += W::kUnit) {
    Lanes lanes[W::kUnit / 16];
    W::Decode(row, unit, lanes);
    for (int64_t i = 0; i < W::kUnit / 16; ++i) StoreLanes(lanes[i], out + 16 * i);
  }
  if constexpr (W::kElementBytes > 0) {
    if (left > 0) StoreLanes(DecodeTail<W>(row + unit * 16 * W::kElementBytes, left), out);
  }
}

#endif
}  // namespace trireme::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
