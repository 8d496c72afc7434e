// Readers of the types whose blocks are eight groups, and the choice of a reader by type.
#if defined(TRIREME_RUNTIME_OPS_CPU_MATMUL_INT8_K_GROUPS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TRIREME_RUNTIME_OPS_CPU_MATMUL_INT8_K_GROUPS_INL_H_
#undef TRIREME_RUNTIME_OPS_CPU_MATMUL_INT8_K_GROUPS_INL_H_
#else
#define TRIREME_RUNTIME_OPS_CPU_MATMUL_INT8_K_GROUPS_INL_H_
#endif

#include "runtime/base/check.h"
#include "runtime/ops/cpu/matmul/int8_groups-inl.h"
#include "runtime/tensor/dtype.h"

TRI_BEFORE_INT8();
namespace trireme::cpu::HWY_NAMESPACE {
#if TRI_CPU_KERNELS

inline constexpr int64_t kBlockGroups = 8;

HWY_INLINE VI Words(VB bytes) { return hn::BitCast(DI(), bytes); }
HWY_INLINE VI Bits(VI words, int64_t from, int32_t mask) {
  return hn::And(hn::ShiftRightSame(words, static_cast<int>(from)), hn::Set(DI(), mask));
}

// The half in the low 16 bits of each word.
HWY_INLINE VF LowHalves(VI words) {
  const hn::Rebind<uint16_t, DF> d16;
  return ToFloats(hn::DemoteTo(d16, hn::And(words, hn::Set(DI(), 0xFFFF))));
}

// Bits [from, from + bits) of every byte of 32 of each row.
HWY_INLINE void LoadBits(const StridedRows& rows, int64_t offset, int64_t from, uint8_t mask,
                         ByteLanes* quads) {
  Transpose(LoadRows(rows, offset), quads);
  Transpose(LoadRows(rows, offset + 16), quads + 4);
  const hn::Repartition<uint16_t, DF> d16;
  for (int j = 0; j < 8; ++j) {
    for (VB& part : quads[j].part) {
      const auto shifted = hn::ShiftRightSame(hn::BitCast(d16, part), static_cast<int>(from));
      part = hn::And(hn::BitCast(DB(), shifted), hn::Set(DB(), mask));
    }
  }
}

// quads |= more << kShift.
template <int kShift>
HWY_INLINE void AddBits(const ByteLanes (&more)[8], ByteLanes* quads) {
  const hn::Repartition<uint16_t, DF> d16;
  for (int j = 0; j < 8; ++j) {
    for (int i = 0; i < kParts; ++i) {
      const auto shifted = hn::ShiftLeft<kShift>(hn::BitCast(d16, more[j].part[i]));
      quads[j].part[i] = hn::Or(quads[j].part[i], hn::BitCast(DB(), shifted));
    }
  }
}

template <int64_t kBytes>
class LargeBlocks {
 public:
  static constexpr int64_t kGroupBytes = (kBytes + kBlockGroups - 1) / kBlockGroups;

 protected:
  static HWY_INLINE StridedRows At(const StridedRows& rows, int64_t block) {
    return {rows.first + block * kBytes, rows.stride};
  }
};

// Q4_K and Q5_K begin with halves d and dmin and six-bit scales and minima of the groups:
// w = (d * scale) * q - dmin * minimum.
template <int64_t kBytes>
class ScaledBlocks : public LargeBlocks<kBytes> {
 protected:
  // Scales and minima of the block `group` is in, those of one block at a time.
  HWY_INLINE void LoadScales(const StridedRows& block, int64_t group, GroupTile& to) {
    const uint8_t* const at = block.first;
    if (at != block_) {
      block_ = at;
      Unpack(block);
    }
    to.scales[0] = LoadLanes(scales_ + group % kBlockGroups * 16);
    to.minima = LoadLanes(minima_ + group % kBlockGroups * 16);
  }

 private:
  HWY_INLINE void Unpack(const StridedRows& block) {
    ByteLanes words[4];
    Transpose(LoadRows(block, 0), words);
    for (int i = 0; i < kParts; ++i) {
      const VI halves = Words(words[0].part[i]);
      const VF d = LowHalves(halves);
      const VF minus_dmin = hn::Neg(LowHalves(hn::ShiftRight<16>(halves)));
      const VI low_scales = Words(words[1].part[i]);
      const VI low_minima = Words(words[2].part[i]);
      const VI mixed = Words(words[3].part[i]);
      for (int64_t g = 0; g < 4; ++g) {
        Keep(g, i, d, Bits(low_scales, 8 * g, 63), minus_dmin, Bits(low_minima, 8 * g, 63));
        const VI scale =
            hn::Or(Bits(mixed, 8 * g, 15), hn::ShiftLeft<4>(Bits(low_scales, 8 * g + 6, 3)));
        const VI minimum =
            hn::Or(Bits(mixed, 8 * g + 4, 15), hn::ShiftLeft<4>(Bits(low_minima, 8 * g + 6, 3)));
        Keep(g + 4, i, d, scale, minus_dmin, minimum);
      }
    }
  }

  HWY_INLINE void Keep(int64_t group, int part, VF d, VI scale, VF minus_dmin, VI minimum) {
    const int64_t at = group * 16 + part * kWidth;
    hn::Store(hn::Mul(d, hn::ConvertTo(DF(), scale)), DF(), scales_ + at);
    hn::Store(hn::Mul(minus_dmin, hn::ConvertTo(DF(), minimum)), DF(), minima_ + at);
  }

  const uint8_t* block_ = nullptr;
  HWY_ALIGN float scales_[kBlockGroups * 16];
  HWY_ALIGN float minima_[kBlockGroups * 16];
};

class Q4_KGroups : public ScaledBlocks<144> {
 public:
  using Form = GroupForm<7, true>;
  static constexpr int kOffsetBits = 0;
  HWY_INLINE void Load(const StridedRows& rows, int64_t group, GroupTile& to) {
    const StridedRows block = At(rows, group / kBlockGroups);
    const int64_t g = group % kBlockGroups;
    LoadBits(block, 16 + g / 2 * 32, g % 2 * 4, 0xF, to.quads);
    LoadScales(block, group, to);
  }
};

class Q5_KGroups : public ScaledBlocks<176> {
 public:
  using Form = GroupForm<7, true>;
  static constexpr int kOffsetBits = 0;
  HWY_INLINE void Load(const StridedRows& rows, int64_t group, GroupTile& to) {
    const StridedRows block = At(rows, group / kBlockGroups);
    const int64_t g = group % kBlockGroups;
    LoadBits(block, 48 + g / 2 * 32, g % 2 * 4, 0xF, to.quads);
    ByteLanes fifth[8];
    LoadBits(block, 16, g, 1, fifth);
    AddBits<4>(fifth, to.quads);
    LoadScales(block, group, to);
  }
};

// {low nibbles[128]; upper two bits[64]; int8 scales[16], of 16 values each; half d}:
// w = (d * scale) * (q - 32).
class Q6_KGroups : public LargeBlocks<210> {
 public:
  using Form = GroupForm<7, false, 2>;
  static constexpr int kOffsetBits = 5;
  HWY_INLINE void Load(const StridedRows& rows, int64_t group, GroupTile& to) {
    const StridedRows block = At(rows, group / kBlockGroups);
    const int64_t half = group % kBlockGroups / 4;
    const int64_t quarter = group % 4;
    LoadBits(block, half * 64 + quarter % 2 * 32, quarter / 2 * 4, 0xF, to.quads);
    ByteLanes upper[8];
    LoadBits(block, 128 + half * 32, quarter * 2, 3, upper);
    AddBits<4>(upper, to.quads);
    const Lanes d = GatherHalves(block, 208);
    // Two scales a row, signed, beside each other.
    ByteLanes words[4];
    Transpose(LoadRows(block, 192), words);
    const int64_t first = half * 8 + quarter * 2;
    for (int i = 0; i < kParts; ++i) {
      const VI both =
          hn::ShiftRightSame(Words(words[first / 4].part[i]), static_cast<int>(first % 4 * 8));
      const VI low = hn::ShiftRight<24>(hn::ShiftLeft<24>(both));
      const VI high = hn::ShiftRight<24>(hn::ShiftLeft<16>(both));
      to.scales[0].part[i] = hn::Mul(d.part[i], hn::ConvertTo(DF(), low));
      to.scales[1].part[i] = hn::Mul(d.part[i], hn::ConvertTo(DF(), high));
    }
  }
};

// Calls body(reader type) for `dtype`.
template <class Body>
HWY_INLINE void WithGroups(DType dtype, const Body& body) {
  switch (dtype) {
    case DType::kQ8_0:
      return body(Q8_0Groups());
    case DType::kQ4_0:
      return body(Q4_0Groups());
    case DType::kQ4_1:
      return body(Q4_1Groups());
    case DType::kQ4_K:
      return body(Q4_KGroups());
    case DType::kQ5_K:
      return body(Q5_KGroups());
    case DType::kQ6_K:
      return body(Q6_KGroups());
    default:
      TRI_CHECK(false) << Name(dtype) << " is not multiplied in integers";
  }
}

#endif
}  // namespace trireme::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
