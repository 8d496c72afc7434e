// The three products of a gated MLP, which are most of a model, on one thread and on memory that is
// laid out and mapped as weights are: as many layers of them as do not fit a cache.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "launcher/planner/cluster.h"
#include "runtime/ops/ops.h"
#include "runtime/tensor/sum_tree.h"
#include "runtime/tensor/tensor.h"

namespace trireme {

// Of `dtype`, every byte the same small normal number: zeros may be shared pages, and tiny numbers
// slow.
Tensor FilledTensor(DType dtype, Shape shape);

struct MlpShape {
  MatrixForm form;
  int64_t hidden = 0;
  int64_t width = 0;
};

class MlpBench {
 public:
  static constexpr int64_t kMostTokens = 128;

  // Widths are grown to whole blocks of the dtype.
  static absl::StatusOr<std::unique_ptr<MlpBench>> Make(const MlpShape& shape);

  double weight_bytes() const;
  double flops_per_token() const;
  int64_t layers() const { return static_cast<int64_t>(layers_.size()); }

  // Every layer with so many tokens; calls `after` after each.
  void Multiply(
      int64_t tokens, absl::FunctionRef<void()> after = [] {});

 private:
  struct Layer {
    Tensor gate_up;  // [2 * width, hidden], or [hidden, 2 * width]
    Tensor down;     // [hidden, width], or [width, hidden]
  };

  MlpBench(const MlpShape& shape, std::unique_ptr<Ops> ops);
  void AddLayer();
  void MultiplyRows(const Layer& layer, Range rows);
  void MultiplyInputMajor(const Layer& layer, Range rows);

  const MlpShape shape_;
  const std::unique_ptr<Ops> ops_;
  const WidthSplit leaves_;
  Tensor x_, gate_, up_, out_;
  std::vector<Layer> layers_;
};

}  // namespace trireme
