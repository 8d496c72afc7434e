// A model's weights, described once. From an architecture's table, and only from it, follow
// checkpoint validation, slices, shards and manifest, loading, and the account of memory.
//
// INV-TABLE-1: over any mesh that fits, the slices of all ranks cover each element of each tensor
// exactly once, or exactly as often as the heads or the stage ends that need it are replicated.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runtime/checkpoint/tensor_source.h"
#include "runtime/model/extent.h"
#include "runtime/tensor/tensor.h"

namespace trireme {

// Which axis of a [out, in] matrix is cut.
enum class Split { kNone, kOutput, kInput };

// What the cut axis counts, in granules.
enum class Along { kNothing, kQueryHeads, kKvHeads, kMlp, kVocabulary };

// Which stages need the tensor.
enum class Holder { kLayer, kFirstStage, kLastStage, kFirstAndLastStage, kEveryStage };

struct TensorSpec {
  std::string name;       // HuggingFace's, with the layer's number
  std::string gguf_name;  // llama.cpp's
  Shape shape;            // whole
  Split split = Split::kNone;
  Along along = Along::kNothing;
  int64_t granule = 1;  // rows or columns per head (or per MLP column, vocabulary row)
  Holder holder = Holder::kLayer;
  int layer = -1;  // -1 outside layers
  int slot = 0;    // the architecture's own number for the role; indexes Weights
  bool optional = false;
};

using TensorTable = std::vector<TensorSpec>;

// The region of a whole tensor that a rank holds.
struct Slice {
  Range rows;     // of axis 0
  Range columns;  // of axis 1; {0, 1} for a vector
};

// nullopt when the rank holds nothing of it.
std::optional<Slice> SliceFor(const TensorSpec& spec, const Extent& extent);

// A column range grown to whole blocks of the dtype: what is stored and mapped.
Range WidenToBlocks(Range columns, DType dtype);

// The stored shape of a slice of the given dtype (columns widened): what a shard file declares.
Shape StoredShape(const TensorSpec& spec, const Slice& slice, DType dtype);

// The tensor's entry in a source of whole tensors, with shape and dtype checked against the spec.
// NOT_FOUND (nullptr if optional) or INVALID_ARGUMENT naming tensor, expected and found.
absl::StatusOr<const TensorEntry*> FindChecked(const TensorSource& source, const TensorSpec& spec);

}  // namespace trireme
