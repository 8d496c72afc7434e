// The matrix products of a step on one thread, with the model's own matrices where they are mapped:
// a rank's slices, in the order of the table, as many as a cache cannot keep from one pass to the
// next. Not fresh memory: products with that read 14 to 18 GB/s from one process to the next, while
// the steps of a bf16 model stayed at 16 (a virtual machine with nothing else to do; why is not
// known).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "launcher/planner/cluster.h"
#include "launcher/planner/rank_load.h"
#include "runtime/ops/ops.h"
#include "runtime/tensor/sum_tree.h"
#include "runtime/tensor/tensor.h"

namespace trireme {

// Of `dtype`, every byte the same small normal number: zeros may be shared pages, and tiny numbers
// slow.
Tensor FilledTensor(DType dtype, Shape shape);

// Every form that the model's matrices have; the first is most of the model's.
std::vector<MatrixForm> FormsOf(const PlannedModel& model);

class MatrixBench {
 public:
  static constexpr int64_t kMostTokens = 64;
  static constexpr int64_t kMostBytes = 512 << 20;

  // Matrices of `form`, or of all but routed experts. INVALID_ARGUMENT when there is none.
  static absl::StatusOr<std::unique_ptr<MatrixBench>> Make(const PlannedModel& model,
                                                           const Extent& extent,
                                                           std::optional<MatrixForm> form);

  double weight_bytes() const;
  double flops_per_token() const;
  // Matrices whose products ranks sum: those that are cut along their inputs.
  int64_t sums() const;

  // Every matrix with so many tokens; calls `sum` where ranks would.
  void Multiply(
      int64_t tokens, absl::FunctionRef<void()> sum = [] {});

 private:
  struct Matrix {
    ConstTensorView view;
    bool input_major = false;
    bool summed = false;
    int64_t outputs = 0;
    int64_t inputs = 0;
    LeafSchedule leaves;
  };

  explicit MatrixBench(std::unique_ptr<Ops> ops) : ops_(std::move(ops)) {}
  void AddMatrices(const TensorSpec& spec, const TensorEntry& entry, const Slice& slice,
                   bool sliced);
  void MultiplyBy(const Matrix& matrix, int64_t tokens);

  const std::unique_ptr<Ops> ops_;
  std::shared_ptr<const TensorSource> source_;
  std::vector<Matrix> matrices_;
  double bytes_ = 0;
  Tensor x_, out_;  // [kMostTokens * the largest width]
};

}  // namespace trireme
