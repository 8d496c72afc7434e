// What is done with the readers of weights-inl.h: choosing one by dtype, walking a row, and
// decoding columns to memory.
#if defined(TRIREME_RUNTIME_OPS_CPU_DECODE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TRIREME_RUNTIME_OPS_CPU_DECODE_INL_H_
#undef TRIREME_RUNTIME_OPS_CPU_DECODE_INL_H_
#else
#define TRIREME_RUNTIME_OPS_CPU_DECODE_INL_H_
#endif

#include "runtime/base/check.h"
#include "runtime/ops/cpu/lanes-inl.h"
#include "runtime/ops/cpu/weights-inl.h"
#include "runtime/tensor/dtype.h"
#include "runtime/tensor/shape.h"
#include "runtime/tensor/tensor.h"

HWY_BEFORE_NAMESPACE();
namespace trireme::cpu::HWY_NAMESPACE {
#if TRI_CPU_KERNELS

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
  W::Decode(padded, 0, nullptr, &out);
  return out;
}

// Calls body(unit, lanes) for `count` units from `first`; lanes are kUnit / 16 values of Lanes.
template <class W, class Body>
HWY_INLINE void ForEachUnit(const uint8_t* row, int64_t first, int64_t count, const Body& body) {
  HWY_ALIGN float scales[kScaleFloats<1>];
  const uint8_t* const rows[1] = {row};
  Range chunk{first, first};
  while (chunk.end < first + count) {
    chunk = {chunk.end, W::template ChunkEnd<1>(chunk.end, first + count)};
    W::template Prepare<1>(rows, chunk, scales);
    for (int64_t unit = chunk.begin; unit < chunk.end; ++unit) {
      Lanes lanes[W::kUnit / 16];
      W::Decode(row, unit, scales + W::template ScaleIndex<1>(chunk, unit), lanes);
      body(unit, lanes);
    }
  }
}

// Columns [columns) of a stored row to memory. Those of block types begin and end on units; for the
// others the last store is padded with zeros to 16 values.
template <class W>
HWY_INLINE void DecodeColumns(const uint8_t* row, Range columns, float* out) {
  int64_t first = 0;
  if constexpr (W::kElementBytes > 0) {
    row += columns.begin * W::kElementBytes;
  } else {
    first = columns.begin / W::kUnit;
  }
  const int64_t units = columns.size() / W::kUnit;
  ForEachUnit<W>(row, first, units, [=](int64_t unit, const Lanes* lanes) HWY_ATTR {
    float* to = out + (unit - first) * W::kUnit;
    for (int64_t i = 0; i < W::kUnit / 16; ++i) StoreLanes(lanes[i], to + 16 * i);
  });
  if constexpr (W::kElementBytes > 0) {
    const int64_t left = columns.size() % 16;
    const uint8_t* tail = row + units * 16 * W::kElementBytes;
    if (left > 0) StoreLanes(DecodeTail<W>(tail, left), out + units * 16);
  }
}

// Factors of `outputs` ([1, outputs] of the matrix's) as fp32, padded to 16 values; nullptr where
// there are none.
HWY_INLINE const float* DecodeScales(const ConstTensorView& scales, Range outputs, float* to) {
  if (scales.empty()) return nullptr;
  const auto* from = reinterpret_cast<const uint8_t*>(scales.data);
  WithWeights(scales.dtype,
              [&](auto reader) { DecodeColumns<decltype(reader)>(from, outputs, to); });
  return to;
}

#endif
}  // namespace trireme::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
