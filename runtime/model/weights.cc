#include "runtime/model/weights.h"

#include "absl/strings/str_format.h"
#include "runtime/base/check.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

absl::Status CheckShape(const TensorEntry& entry, const Shape& expected) {
  if (entry.view.shape == expected) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("%s: tensor %s has shape %s; expected %s", entry.file->path(), entry.name,
                      entry.view.shape.ToString(), expected.ToString()));
}

// One expert's plane of a stack, or a matrix or vector as it is.
ConstTensorView PlaneOf(const ConstTensorView& view, int64_t expert) {
  if (view.shape.rank() < 3) return view;
  const int64_t rows = view.shape[1];
  return ConstTensorView(view.row(expert * rows), view.dtype, Shape{rows, view.shape[2]},
                         view.row_stride_bytes);
}

// A region's rows and columns of a matrix; a vector's come as a vector.
ConstTensorView RegionOf(const ConstTensorView& view, const Slice& region, bool vector) {
  if (!vector) return view.Rows(region.rows).Columns(region.columns);
  const int64_t element = RowBytes(view.dtype, 1);
  return ConstTensorView(view.data + region.rows.begin * element, view.dtype,
                         Shape{region.rows.size()});
}

// The rank's region of an entry of rank 1 or 2 (or of plane `expert` of one of rank 3), where the
// entry holds the whole tensor or exactly that region.
ConstTensorView ViewOf(const TensorSpec& spec, const Slice& slice, const TensorEntry& entry,
                       int64_t expert, bool sliced) {
  if (sliced) return PlaneOf(entry.view, expert - slice.experts.begin);
  Slice region = SourceRegion(spec, slice);
  const bool vector = spec.shape.rank() == 1;
  if (!vector) region.columns = WidenToBlocks(region.columns, entry.view.dtype);
  return RegionOf(PlaneOf(entry.view, expert), region, vector);
}

int64_t ColumnOffset(const TensorSpec& spec, const Slice& slice, DType dtype) {
  if (spec.shape.rank() == 1) return 0;
  return slice.columns.begin - WidenToBlocks(slice.columns, dtype).begin;
}

// Matrices or scales of the experts in `slice`, into the list of all that the rank holds.
void BindExperts(const TensorSpec& spec, const Slice& slice, const TensorEntry& entry, bool sliced,
                 std::span<ExpertMatrix> matrices, int64_t first_held) {
  const Range experts = spec.expert >= 0 ? Range{spec.expert, spec.expert + 1} : slice.experts;
  for (int64_t expert = experts.begin; expert < experts.end; ++expert) {
    const ConstTensorView view = ViewOf(spec, slice, entry, expert, sliced);
    ExpertMatrix& matrix = matrices[static_cast<size_t>(expert - first_held)];
    if (!spec.expert_scales) {
      matrix.values = view;
      matrix.input_major = spec.input_major;
      matrix.offset = ColumnOffset(spec, slice, view.dtype);
    } else {
      matrix.scales = view.rows() == 1 ? ConstTensorView(view.data, view.dtype, {1, view.columns()})
                                       : view.Reshaped({1, view.rows()});
    }
  }
}

}  // namespace

absl::StatusOr<Weights> Weights::Bind(const TensorTable& table, const Extent& extent,
                                      std::shared_ptr<const TensorSource> source) {
  Weights weights;
  weights.first_layer_ = extent.layers.begin;
  weights.layer_weights_.resize(static_cast<size_t>(extent.layers.size()) * kSlots);
  weights.expert_matrices_.resize(weights.layer_weights_.size());
  for (const TensorSpec& spec : table) {
    TRI_CHECK_LT(static_cast<size_t>(spec.slot), kSlots);
    const std::optional<Slice> slice = SliceFor(spec, extent);
    if (!slice) continue;
    TRI_ASSIGN_OR_RETURN(const TensorEntry* entry, FindChecked(*source, spec));
    if (entry == nullptr) continue;
    const bool sliced = source->holds_slices();
    TRI_RETURN_IF_ERROR(sliced ? CheckShape(*entry, StoredShape(spec, *slice, entry->view.dtype))
                               : CheckWhole(spec, *entry));
    if (IsRouted(spec)) {
      auto& matrices = weights.expert_matrices_[weights.IndexOf(spec.layer, spec.slot)];
      matrices.resize(static_cast<size_t>(extent.routed_experts.size()));
      BindExperts(spec, *slice, *entry, sliced, matrices, extent.routed_experts.begin);
      weights.bytes_ +=
          ConstTensorView(nullptr, entry->view.dtype, StoredShape(spec, *slice, entry->view.dtype))
              .bytes();
      continue;
    }
    const Weight weight{.view = ViewOf(spec, *slice, *entry, 0, sliced),
                        .column_offset = ColumnOffset(spec, *slice, entry->view.dtype)};
    weights.bytes_ += weight.view.bytes();
    if (spec.layer < 0) {
      weights.global_weights_[static_cast<size_t>(spec.slot)] = weight;
    } else {
      weights.layer_weights_[weights.IndexOf(spec.layer, spec.slot)] = weight;
    }
  }
  weights.source_ = std::move(source);
  return weights;
}

size_t Weights::IndexOf(int64_t layer, int slot) const {
  return static_cast<size_t>(layer - first_layer_) * kSlots + static_cast<size_t>(slot);
}

const Weight& Weights::at(int layer, int slot) const {
  return layer_weights_[IndexOf(layer, slot)];
}

std::span<const ExpertMatrix> Weights::experts(int layer, int slot) const {
  return expert_matrices_[IndexOf(layer, slot)];
}

const Weight& Weights::global(int slot) const { return global_weights_[static_cast<size_t>(slot)]; }

}  // namespace trireme
