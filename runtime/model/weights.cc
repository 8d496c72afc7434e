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

// The rank's region of an entry, which holds the whole tensor or exactly that region.
absl::StatusOr<Weight> BindOne(const TensorSpec& spec, const Slice& slice, const TensorEntry& entry,
                               bool sliced) {
  const ConstTensorView& view = entry.view;
  const Range columns = WidenToBlocks(slice.columns, view.dtype);
  Weight weight;
  weight.column_offset = spec.shape.rank() == 2 ? slice.columns.begin - columns.begin : 0;
  if (sliced) {
    TRI_RETURN_IF_ERROR(CheckShape(entry, StoredShape(spec, slice, view.dtype)));
    weight.view = view;
    return weight;
  }
  TRI_RETURN_IF_ERROR(CheckShape(entry, spec.shape));
  weight.view = spec.shape.rank() == 2 ? view.Rows(slice.rows).Columns(columns) : view;
  return weight;
}

}  // namespace

absl::StatusOr<Weights> Weights::Bind(const TensorTable& table, const Extent& extent,
                                      std::shared_ptr<const TensorSource> source) {
  Weights weights;
  weights.first_layer_ = extent.layers.begin;
  weights.layer_weights_.resize(static_cast<size_t>(extent.layers.size()) * kSlots);
  for (const TensorSpec& spec : table) {
    TRI_CHECK_LT(static_cast<size_t>(spec.slot), kSlots);
    const std::optional<Slice> slice = SliceFor(spec, extent);
    if (!slice) continue;
    TRI_ASSIGN_OR_RETURN(const TensorEntry* entry, FindChecked(*source, spec));
    if (entry == nullptr) continue;
    TRI_ASSIGN_OR_RETURN(const Weight weight,
                         BindOne(spec, *slice, *entry, source->holds_slices()));
    weights.bytes_ += weight.view.bytes();
    const auto slot = static_cast<size_t>(spec.slot);
    if (spec.layer < 0) {
      weights.global_weights_[slot] = weight;
    } else {
      const auto layer = static_cast<size_t>(spec.layer - extent.layers.begin);
      weights.layer_weights_[layer * kSlots + slot] = weight;
    }
  }
  weights.source_ = std::move(source);
  return weights;
}

const Weight& Weights::at(int layer, int slot) const {
  return layer_weights_[static_cast<size_t>(layer - first_layer_) * kSlots +
                        static_cast<size_t>(slot)];
}

const Weight& Weights::global(int slot) const { return global_weights_[static_cast<size_t>(slot)]; }

}  // namespace trireme
