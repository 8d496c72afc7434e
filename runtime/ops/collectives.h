// What a layer may ask of the ranks that share its stage. Activations are replicated within a
// stage, so two verbs suffice: the top of the summation tree, and gathering slices of a row.
//
// Calls enqueue on the backend's stream (the CPU's run at once) and report no error themselves: the
// first failure (a late or lost peer) makes the object fail for good, later calls return at once
// with unspecified data, and the stage reads status() once a step.
#pragma once

#include <span>
#include <string_view>

#include "absl/status/status.h"
#include "runtime/tensor/tensor.h"

namespace trireme {

class Collectives {
 public:
  virtual ~Collectives() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;  // a power of two

  // data: [rows, n] fp32, contiguous, in place. On return every rank holds the sum over ranks,
  // added pairwise (r with r^1, then r^2, …): the top of the tree of sum_tree.h, the same bits on
  // every rank. `what` names the operation in the ring of last collectives ("layer 3 attention"); it is copied.
  virtual void TreeSum(TensorView data, std::string_view what) = 0;

  // mine: [rows, widths[rank()]], all: [rows, sum(widths)] fp32, contiguous; slices in rank order
  // within each row. Must not alias.
  virtual void AllGather(ConstTensorView mine, std::span<const int64_t> widths, TensorView all,
                         std::string_view what) = 0;

  // OK, or the first failure, which names the late rank, its host, the operation and the step.
  virtual absl::Status status() const = 0;
};

// One rank: both verbs are copies or nothing. Makes tp = 1 the same code path.
class SoloCollectives final : public Collectives {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  void TreeSum(TensorView data, std::string_view what) override;
  void AllGather(ConstTensorView mine, std::span<const int64_t> widths, TensorView all,
                 std::string_view what) override;
  absl::Status status() const override { return absl::OkStatus(); }
};

}  // namespace trireme
