// Weights as they are stored, to fp32, one element at a time: the definition of every weight type,
// which the vector backends must equal bit for bit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "runtime/tensor/dtype.h"
#include "runtime/tensor/shape.h"

namespace trireme {

// Elements [columns) of a stored row, which need not lie on block boundaries; `row` points at
// column 0. out: columns.size() values.
void DecodeRow(DType dtype, const std::byte* row, Range columns, std::span<float> out);

// True for the types that DecodeRow, Embed and Linear accept (all but integers).
bool IsWeightType(DType dtype);

}  // namespace trireme
