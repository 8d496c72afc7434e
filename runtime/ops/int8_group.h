// 32 consecutive activations as 8-bit integers with one scale: what Arithmetic::kNative multiplies
// block-typed weights with. The definition of the numbers, which vector code must equal bit for
// bit.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "runtime/tensor/dtype.h"
#include "runtime/tensor/sum_tree.h"

namespace trireme {

inline constexpr int64_t kInt8Group = 32;

// Of a group whose greatest magnitude is `largest` (infinity or NaN where one of its values is):
// x = d * q with q = x * inverse rounded to nearest, ties to even; |q| <= 127.
// A group that holds a value which is not finite has d = NaN, so that an error does not turn into a
// plausible number. Where 127 / largest is no finite number (largest is 0, or below 4e-37) every q
// is 0.
struct Int8Scale {
  float d;
  float inverse;
};
inline Int8Scale ScaleOfInt8(float largest) {
  if (!(largest <= std::numeric_limits<float>::max())) {
    return {std::numeric_limits<float>::quiet_NaN(), 0};
  }
  const float inverse = 127.0f / largest;
  return {largest / 127.0f, inverse <= std::numeric_limits<float>::max() ? inverse : 0.0f};
}

// Types whose values are d * q + m with small integers q, and d and m the same in 16 values or
// more.
inline bool HasInt8Groups(DType dtype) {
  switch (dtype) {
    case DType::kQ8_0:
    case DType::kQ4_0:
    case DType::kQ4_1:
    case DType::kQ4_K:
    case DType::kQ5_K:
    case DType::kQ6_K:
      return true;
    default:
      return false;
  }
}

// True when a product with such weights is made of whole groups, whatever the mesh.
inline bool CutsIntoInt8Groups(const LeafSchedule& schedule) {
  return schedule.grain % kInt8Group == 0;
}

}  // namespace trireme
