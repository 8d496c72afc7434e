#include "runtime/model/tensor_table.h"

#include <algorithm>

#include "absl/strings/str_format.h"
#include "runtime/base/check.h"

namespace trireme {
namespace {

Range Scaled(Range range, int64_t granule) { return {range.begin * granule, range.end * granule}; }

Range Owned(Along along, const Extent& extent) {
  switch (along) {
    case Along::kQueryHeads:
      return extent.heads.query_heads;
    case Along::kKvHeads:
      return extent.heads.kv_heads;
    case Along::kMlp:
      return extent.mlp.columns;
    case Along::kSharedExpert:
      return extent.shared_expert.columns;
    case Along::kRoutedExpert:
      return extent.routed_expert.columns;
    case Along::kVocabulary:
      return extent.vocabulary;
    case Along::kNothing:
      break;
  }
  TRI_CHECK(false) << "a split tensor must say along what";
  return {};
}

bool Holds(const TensorSpec& spec, const Extent& extent) {
  if (spec.expert >= 0 &&
      (spec.expert < extent.routed_experts.begin || spec.expert >= extent.routed_experts.end)) {
    return false;
  }
  switch (spec.holder) {
    case Holder::kLayer:
      return spec.layer >= extent.layers.begin && spec.layer < extent.layers.end;
    case Holder::kFirstStage:
      return extent.first_stage();
    case Holder::kLastStage:
      return extent.last_stage();
    case Holder::kFirstAndLastStage:
      return extent.first_stage() || extent.last_stage();
    case Holder::kEveryStage:
      return true;
  }
  return false;
}

bool IsWeightType(DType dtype) { return dtype != DType::kI32; }

}  // namespace

std::optional<Slice> SliceFor(const TensorSpec& spec, const Extent& extent) {
  if (!Holds(spec, extent)) return std::nullopt;
  const int rank = spec.shape.rank();
  Slice slice{{0, rank == 1 ? spec.shape[0] : spec.shape[rank - 2]},
              {0, rank == 1 ? 1 : spec.shape[rank - 1]}};
  if (rank == 3) slice.experts = extent.routed_experts;
  if (spec.split == Split::kNone) return slice;
  const bool cuts_rows = (spec.split == Split::kOutput) != spec.input_major;
  (cuts_rows ? slice.rows : slice.columns) = Scaled(Owned(spec.along, extent), spec.granule);
  return slice;
}

Range WidenToBlocks(Range columns, DType dtype) {
  const int64_t block = Traits(dtype).block_elements;
  return {columns.begin / block * block, (columns.end + block - 1) / block * block};
}

Shape StoredShape(const TensorSpec& spec, const Slice& slice, DType dtype) {
  if (spec.shape.rank() == 1) return Shape{slice.rows.size()};
  const int64_t columns = WidenToBlocks(slice.columns, dtype).size();
  if (spec.shape.rank() == 2) return Shape{slice.rows.size(), columns};
  return Shape{slice.experts.size(), slice.rows.size(), columns};
}

namespace {

Shape WholeShape(const TensorSpec& spec) {
  if (spec.shape.rank() < 3) return spec.shape;
  const int64_t rows = spec.transposed ? spec.shape[2] : spec.shape[1];
  const int64_t columns = spec.transposed ? spec.shape[1] : spec.shape[2];
  return Shape{spec.shape[0], rows, spec.fused ? spec.fused->columns : columns};
}

}  // namespace

const std::string& NameIn(const TensorSource& source, const TensorSpec& spec) {
  if (source.dialect() == Dialect::kGguf) return spec.gguf_name;
  return spec.fused && !source.holds_slices() ? spec.fused->name : spec.name;
}

Slice SourceRegion(const TensorSpec& spec, const Slice& slice) {
  Slice region = slice;
  if (spec.fused) {
    Range& outputs = spec.transposed ? region.rows : region.columns;
    outputs.begin += spec.fused->first_column;
    outputs.end += spec.fused->first_column;
  }
  return region;
}

namespace {

// Where one axis alone differs, most likely a configuration of another model lies by the weights.
std::string WhyShapesDiffer(const Shape& expected, const Shape& found) {
  int different = 0;
  int axis = 0;
  for (int i = 0; i < std::min(expected.rank(), found.rank()); ++i) {
    if (expected[i] == found[i]) continue;
    ++different;
    axis = i;
  }
  if (expected.rank() != found.rank() || different != 1) return "";
  return absl::StrFormat(
      ": the configuration says %d where the weights have %d; take both from one checkpoint",
      expected[axis], found[axis]);
}

}  // namespace

absl::Status CheckWhole(const TensorSpec& spec, const TensorEntry& entry) {
  const Shape expected = WholeShape(spec);
  const Shape& found = entry.view.shape;
  const bool column = expected.rank() == 1 && found == Shape{expected[0], 1};
  if (found == expected || column) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("%s: tensor %s has shape %s; expected %s%s", entry.file->path(), entry.name,
                      found.ToString(), expected.ToString(), WhyShapesDiffer(expected, found)));
}

int64_t StoredBytes(const TensorSpec& spec, const Slice& slice, DType dtype) {
  const Shape shape = StoredShape(spec, slice, dtype);
  const int64_t columns = shape[shape.rank() - 1];
  return columns == 0 ? 0 : shape.elements() / columns * RowBytes(dtype, columns);
}

DType StoredTypeOf(const TensorSpec& spec, DType source) {
  const bool floats = source == DType::kF32 || source == DType::kF16 || source == DType::kBF16;
  return spec.quantized && floats ? *spec.quantized : source;
}

absl::StatusOr<const TensorEntry*> FindChecked(const TensorSource& source, const TensorSpec& spec) {
  const std::string& name = NameIn(source, spec);
  const TensorEntry* entry = name.empty() ? nullptr : source.Find(name);
  if (entry == nullptr) {
    if (spec.optional || name.empty()) return nullptr;
    return absl::NotFoundError(absl::StrFormat("tensor %s is missing; expected shape %s", name,
                                               WholeShape(spec).ToString()));
  }
  if (!IsWeightType(entry->view.dtype)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: tensor %s has dtype %s; expected a floating-point or quantised type",
                        entry->file->path(), name, Name(entry->view.dtype)));
  }
  if (spec.shape.rank() == 1 && IsBlockType(entry->view.dtype)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: tensor %s has dtype %s; expected F32, F16 or BF16",
                        entry->file->path(), name, Name(entry->view.dtype)));
  }
  if (entry->view.dtype == DType::kF8E4M3 && !spec.scaled) {
    return absl::UnimplementedError(absl::StrFormat(
        "%s: tensor %s has dtype %s, which is supported for the matrices of routed experts with "
        "their scales; convert it to BF16",
        entry->file->path(), name, Name(entry->view.dtype)));
  }
  return entry;
}

}  // namespace trireme
