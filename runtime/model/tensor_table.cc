#include "runtime/model/tensor_table.h"

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
    case Along::kVocabulary:
      return extent.vocabulary;
    case Along::kNothing:
      break;
  }
  TRI_CHECK(false) << "a split tensor must say along what";
  return {};
}

bool Holds(const TensorSpec& spec, const Extent& extent) {
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
  Slice slice{{0, spec.shape[0]}, {0, spec.shape.rank() == 2 ? spec.shape[1] : 1}};
  if (spec.split == Split::kOutput) {
    slice.rows = Scaled(Owned(spec.along, extent), spec.granule);
  } else if (spec.split == Split::kInput) {
    slice.columns = Scaled(Owned(spec.along, extent), spec.granule);
  }
  return slice;
}

Range WidenToBlocks(Range columns, DType dtype) {
  const int64_t block = Traits(dtype).block_elements;
  return {columns.begin / block * block, (columns.end + block - 1) / block * block};
}

Shape StoredShape(const TensorSpec& spec, const Slice& slice, DType dtype) {
  if (spec.shape.rank() == 1) return Shape{slice.rows.size()};
  return Shape{slice.rows.size(), WidenToBlocks(slice.columns, dtype).size()};
}

absl::StatusOr<const TensorEntry*> FindChecked(const TensorSource& source, const TensorSpec& spec) {
  const bool gguf = source.dialect() == Dialect::kGguf;
  const std::string& name = gguf ? spec.gguf_name : spec.name;
  const TensorEntry* entry = name.empty() ? nullptr : source.Find(name);
  if (entry == nullptr) {
    if (spec.optional || name.empty()) return nullptr;
    return absl::NotFoundError(
        absl::StrFormat("tensor %s is missing; expected shape %s", name, spec.shape.ToString()));
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
  return entry;
}

}  // namespace trireme
