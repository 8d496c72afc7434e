// A rank's weights: views into mapped files, bound once by the table. A missing, extra-dimensioned
// or mis-typed tensor is an error here and nowhere later.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/checkpoint/tensor_source.h"
#include "runtime/model/tensor_table.h"
#include "runtime/ops/ops.h"

namespace trireme {

struct Weight {
  ConstTensorView view;  // empty for an absent optional tensor
  // Columns by which the view begins before the slice (block types are widened to whole blocks).
  int64_t column_offset = 0;
};

class Weights {
 public:
  // Binds every tensor of the table that the extent holds. `source` has whole tensors or this
  // rank's slices; it is kept alive by the result.
  static absl::StatusOr<Weights> Bind(const TensorTable& table, const Extent& extent,
                                      std::shared_ptr<const TensorSource> source);

  // By role; layer is the model's number, inside the extent.
  const Weight& at(int layer, int slot) const;
  const Weight& global(int slot) const;
  // A matrix of each routed expert that the rank holds, in order.
  std::span<const ExpertMatrix> experts(int layer, int slot) const;

  int64_t bytes() const { return bytes_; }

 private:
  static constexpr size_t kSlots = 32;
  size_t IndexOf(int64_t layer, int slot) const;

  std::shared_ptr<const TensorSource> source_;
  int64_t first_layer_ = 0;
  std::vector<Weight> layer_weights_;                       // [layers * kSlots]
  std::vector<std::vector<ExpertMatrix>> expert_matrices_;  // [layers * kSlots]
  std::vector<Weight> global_weights_ = std::vector<Weight>(kSlots);
  int64_t bytes_ = 0;
};

}  // namespace trireme
