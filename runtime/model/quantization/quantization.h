// Which matrices of a model are quantised, and to what: one rule over the tensor table. Shards,
// manifest, loading and the account of memory follow from the table that it gives.
//
//   int8   Q8_0: blocks of 32 along the inputs, 8.5 bits a weight
//   int4   Q4_1: blocks of 32 with a minimum, 5 bits a weight; the vocabulary's (embedding and
//          head) in Q8_0, as every token passes through them
//
// Vectors, routers and the factors of FP8 experts stay as they are, and so do matrices whose blocks
// would straddle what ranks or leaves are cut at: the inputs of every leaf of an input-split
// matrix, and all inputs of any other, must be a multiple of 32. FP8 experts have 8 bits already
// and stay in int8; there is no int4 of them.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/model/config.h"
#include "runtime/model/tensor_table.h"

namespace trireme {

enum class Quantization { kNone, kInt8, kInt4 };

// "none", "int8", "int4".
std::string_view Name(Quantization quantization);
std::optional<Quantization> QuantizationFromName(std::string_view name);

// Their rows have `quantized` set, and what a checkpoint has [in, out] becomes [out, in].
// UNIMPLEMENTED for int4 of FP8 experts.
absl::StatusOr<TensorTable> QuantizedTable(TensorTable table, const ModelConfig& config,
                                           Quantization quantization);

// Names of the matrices that stay as they are because blocks do not fit them.
std::vector<std::string> UnfitForBlocks(const TensorTable& table, const ModelConfig& config);

}  // namespace trireme
