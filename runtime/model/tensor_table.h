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

// Which side of a matrix is cut.
enum class Split { kNone, kOutput, kInput };

// What the cut axis counts, in granules.
enum class Along {
  kNothing,
  kQueryHeads,
  kKvHeads,
  kMlp,
  kSharedExpert,
  kRoutedExpert,
  kVocabulary,
};

// Which stages need the tensor.
enum class Holder { kLayer, kFirstStage, kLastStage, kFirstAndLastStage, kEveryStage };

// Where a tensor is a part of a larger one: columns [first_column, first_column + the tensor's) of
// `name` in a HuggingFace checkpoint.
struct FusedPart {
  std::string name;
  int64_t first_column = 0;
  int64_t columns = 0;  // of the larger tensor
};

struct TensorSpec {
  std::string name;       // HuggingFace's, with the layer's number; in shards always this one
  std::string gguf_name;  // llama.cpp's
  // Whole: [n], [out, in], or [experts, out, in], whose first axis is dealt with the routed
  // experts.
  Shape shape;
  bool input_major = false;  // the last two axes are [in, out]
  Split split = Split::kNone;
  Along along = Along::kNothing;
  int64_t granule = 1;  // rows or columns per head (or per MLP column, vocabulary row)
  Holder holder = Holder::kLayer;
  int layer = -1;              // -1 outside layers
  int slot = 0;                // the architecture's own number for the role; indexes Weights
  int expert = -1;             // of a routed expert's own matrix; only its holders have it
  bool scaled = false;         // has FP8 factors in a row of its own
  bool expert_scales = false;  // FP8 factors of the slot's expert matrices, one an output
  std::optional<FusedPart> fused;
  bool optional = false;
  bool exact = false;  // never quantised: what is decided by it is a choice (a router)
  // In the table of a quantised model (runtime/model/quantization): the block type that the shards
  // have it in, where the checkpoint has fp32, fp16 or bf16; and whether the checkpoint has it [in,
  // out], which blocks along the inputs cannot be.
  std::optional<DType> quantized;
  bool transposed = false;
};

// A matrix, stack or vector of routed experts.
inline bool IsRouted(const TensorSpec& spec) { return spec.expert >= 0 || spec.shape.rank() == 3; }

using TensorTable = std::vector<TensorSpec>;

// The region of a whole tensor that a rank holds.
struct Slice {
  Range rows;              // of the axis before the last, or of a vector
  Range columns;           // of the last axis; {0, 1} for a vector
  Range experts = {0, 1};  // of the first axis of three
  friend bool operator==(const Slice&, const Slice&) = default;
};

// nullopt when the rank holds nothing of it.
std::optional<Slice> SliceFor(const TensorSpec& spec, const Extent& extent);

// A column range grown to whole blocks of the dtype: what is stored and mapped.
Range WidenToBlocks(Range columns, DType dtype);

// The stored shape of a slice of the given dtype (columns widened): what a shard file declares.
Shape StoredShape(const TensorSpec& spec, const Slice& slice, DType dtype);

// Its bytes, in a shard file and in memory.
int64_t StoredBytes(const TensorSpec& spec, const Slice& slice, DType dtype);

// What a checkpoint's tensor of `source` dtype becomes: the quantised type, or the same.
DType StoredTypeOf(const TensorSpec& spec, DType source);

// Its name in a source.
const std::string& NameIn(const TensorSource& source, const TensorSpec& spec);

// The region of a checkpoint's tensor that a slice is: the same, but for a part of a larger tensor.
// Of a transposed one it is the region of the tensor as if that lay [out, in].
Slice SourceRegion(const TensorSpec& spec, const Slice& slice);

// INVALID_ARGUMENT unless the entry of a checkpoint has the shape of the whole tensor. (A vector
// may be stored as a matrix of one column.)
absl::Status CheckWhole(const TensorSpec& spec, const TensorEntry& entry);

// The tensor's entry in a source, with its dtype checked against the spec.
// NOT_FOUND (nullptr if optional) or INVALID_ARGUMENT naming tensor, expected and found.
absl::StatusOr<const TensorEntry*> FindChecked(const TensorSource& source, const TensorSpec& spec);

}  // namespace trireme
