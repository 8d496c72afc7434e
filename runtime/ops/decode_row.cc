#include "runtime/ops/decode_row.h"

#include <cstring>

#include "runtime/base/check.h"
#include "runtime/ops/scalar_math.h"

namespace trireme {
namespace {

uint8_t Byte(const std::byte* data, int64_t offset) { return static_cast<uint8_t>(data[offset]); }

template <typename T>
T Load(const std::byte* data, int64_t offset = 0) {
  T value;
  std::memcpy(&value, data + offset, sizeof value);
  return value;
}

float Half(const std::byte* block, int64_t offset) {
  return HalfToFloat(Load<uint16_t>(block, offset));
}

// Nibble i of 32 values in 16 bytes: the low halves are values 0 to 15, the high halves 16 to 31.
int Nibble(const std::byte* nibbles, int64_t i) {
  return i < 16 ? Byte(nibbles, i) & 0xF : Byte(nibbles, i - 16) >> 4;
}

int FifthBit(const std::byte* bits, int64_t i) {
  return static_cast<int>((Load<uint32_t>(bits) >> i) & 1u) << 4;
}

// Blocks of 32. Layouts: Q8_0 {half d; int8 q[32]}; Q4_0 {half d; nibbles}; Q4_1 {half d, m;
// nibbles}; Q5_0 {half d; uint32 fifth bits; nibbles}; Q5_1 {half d, m; uint32 fifth bits;
// nibbles}.
float Q8_0(const std::byte* block, int64_t i) {
  return Half(block, 0) * static_cast<float>(static_cast<int8_t>(Byte(block, 2 + i)));
}
float Q4_0(const std::byte* block, int64_t i) {
  return Half(block, 0) * static_cast<float>(Nibble(block + 2, i) - 8);
}
float Q4_1(const std::byte* block, int64_t i) {
  return Half(block, 0) * static_cast<float>(Nibble(block + 4, i)) + Half(block, 2);
}
float Q5_0(const std::byte* block, int64_t i) {
  const int q = Nibble(block + 6, i) | FifthBit(block + 2, i);
  return Half(block, 0) * static_cast<float>(q - 16);
}
float Q5_1(const std::byte* block, int64_t i) {
  const int q = Nibble(block + 8, i) | FifthBit(block + 4, i);
  return Half(block, 0) * static_cast<float>(q) + Half(block, 2);
}

// Blocks of 256, in eight groups of 32 with 6-bit scales and minima packed in 12 bytes: groups 0 to
// 3 have theirs in the low six bits of bytes 0-3 (scale) and 4-7 (minimum); those of 4 to 7 are in
// the nibbles of bytes 8-11, with their upper two bits above the first eight.
struct GroupScale {
  int scale;
  int minimum;
};
GroupScale UnpackScale(const std::byte* packed, int64_t group) {
  if (group < 4) return {Byte(packed, group) & 63, Byte(packed, group + 4) & 63};
  return {(Byte(packed, group + 4) & 0xF) | ((Byte(packed, group - 4) >> 6) << 4),
          (Byte(packed, group + 4) >> 4) | ((Byte(packed, group) >> 6) << 4)};
}

float ScaleAndShift(const std::byte* block, int64_t group, int q) {
  const GroupScale unpacked = UnpackScale(block + 4, group);
  const float scale = Half(block, 0) * static_cast<float>(unpacked.scale);
  const float minimum = Half(block, 2) * static_cast<float>(unpacked.minimum);
  return scale * static_cast<float>(q) - minimum;
}

// 64 values share 32 bytes: the first 32 are the low nibbles, the others the high ones.
int PairedNibble(const std::byte* nibbles, int64_t i) {
  const uint8_t byte = Byte(nibbles, i / 64 * 32 + i % 32);
  return i % 64 < 32 ? byte & 0xF : byte >> 4;
}

// {half d, dmin; scales[12]; nibbles[128]}
float Q4_K(const std::byte* block, int64_t i) {
  return ScaleAndShift(block, i / 32, PairedNibble(block + 16, i));
}

// {half d, dmin; scales[12]; fifth bits[32], bit g of byte i for value i of group g; nibbles[128]}
float Q5_K(const std::byte* block, int64_t i) {
  const int fifth = (Byte(block, 16 + i % 32) >> (i / 32)) & 1;
  return ScaleAndShift(block, i / 32, PairedNibble(block + 48, i) | (fifth << 4));
}

// {low nibbles[128]; upper bit pairs[64]; int8 scales[16], one for 16 values; half d}. In each half
// of 128 values, 64 bytes hold the nibbles of values i and i + 64, and 32 bytes the upper bits of
// i, i + 32, …
float Q6_K(const std::byte* block, int64_t i) {
  const int64_t half = i / 128;
  const int64_t in_half = i % 128;
  const uint8_t low = Byte(block, half * 64 + in_half % 64);
  const uint8_t high = Byte(block, 128 + half * 32 + in_half % 32);
  const int q = (in_half < 64 ? low & 0xF : low >> 4) | (((high >> (in_half / 32 * 2)) & 3) << 4);
  const float scale =
      Half(block, 208) * static_cast<float>(static_cast<int8_t>(Byte(block, 192 + i / 16)));
  return scale * static_cast<float>(q - 32);
}

float Element(DType dtype, const std::byte* block, int64_t i) {
  switch (dtype) {
    case DType::kF32:
      return Load<float>(block);
    case DType::kF16:
      return Half(block, 0);
    case DType::kBF16:
      return BFloat16ToFloat(Load<uint16_t>(block));
    case DType::kF8E4M3:
      return F8E4M3ToFloat(Byte(block, 0));
    case DType::kQ4_0:
      return Q4_0(block, i);
    case DType::kQ4_1:
      return Q4_1(block, i);
    case DType::kQ5_0:
      return Q5_0(block, i);
    case DType::kQ5_1:
      return Q5_1(block, i);
    case DType::kQ8_0:
      return Q8_0(block, i);
    case DType::kQ4_K:
      return Q4_K(block, i);
    case DType::kQ5_K:
      return Q5_K(block, i);
    case DType::kQ6_K:
      return Q6_K(block, i);
    case DType::kI32:
      break;
  }
  TRI_CHECK(false) << Name(dtype) << " is not a weight type";
  return 0;
}

}  // namespace

void DecodeRow(DType dtype, const std::byte* row, Range columns, std::span<float> out) {
  const DTypeTraits& traits = Traits(dtype);
  TRI_CHECK_EQ(static_cast<int64_t>(out.size()), columns.size());
  for (int64_t column = columns.begin; column < columns.end; ++column) {
    const std::byte* block = row + column / traits.block_elements * traits.block_bytes;
    out[static_cast<size_t>(column - columns.begin)] =
        Element(dtype, block, column % traits.block_elements);
  }
}

bool IsWeightType(DType dtype) { return dtype != DType::kI32; }

}  // namespace trireme
