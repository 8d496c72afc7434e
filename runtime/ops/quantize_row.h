// fp32 to the block types that `trireme shard --quant` writes; decode_row.h says what reads them.
// Every block is a function of its own 32 values, and all sums are of integers that fp32 holds
// exactly, so that the bytes depend neither on how a matrix is cut nor on the processor.
//
// Q8_0: the scale is the greatest magnitude over 127 (ScaleOfQ8).
// Q4_1: scale and minimum are searched for the least sum of squared errors. The range of the values
// is cut into a few different numbers of steps; each cut deals the values to 16 steps, and the line
// through the values by their steps gives scale and minimum anew. The values are dealt for good by
// what fp16 makes of the best.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "runtime/tensor/dtype.h"

namespace trireme {

// True for the types that QuantizeRow writes.
bool IsQuantizedTo(DType dtype);

// `values`: a whole number of blocks; `out`: their bytes. Returns the index of the first value that
// has no place in the type: not finite, or too large for an fp16 scale. `out` is then unspecified.
[[nodiscard]] std::optional<size_t> QuantizeRow(DType dtype, std::span<const float> values,
                                                std::span<std::byte> out);

}  // namespace trireme
