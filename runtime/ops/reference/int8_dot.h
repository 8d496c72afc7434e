// The products of Arithmetic::kNative with block-typed weights, as plain loops (ops.h says what
// they are).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "runtime/tensor/dtype.h"
#include "runtime/tensor/sum_tree.h"

namespace trireme {

// One output's weights; column c of x meets column c + offset.
struct StoredRow {
  DType dtype = DType::kQ8_0;
  const std::byte* bytes = nullptr;
  int64_t offset = 0;
};

float Int8LeavesDot(std::span<const float> x, const StoredRow& w, const LeafSchedule& schedule);

}  // namespace trireme
