// Seeded inputs for the tests of ops: activations and stored weights of every type, with the values
// that break kernels (-0, subnormals, large, exact powers) mixed in, but never NaN or infinity.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "runtime/ops/ops.h"
#include "runtime/tensor/tensor.h"

namespace trireme {

class Sampler {
 public:
  explicit Sampler(uint64_t seed) : random_(seed) {}

  int64_t Integer(int64_t lowest, int64_t highest);
  float Value();

  std::vector<float> Values(int64_t count);
  // [rows, columns] of a stored type; the columns of a block type are whole blocks.
  Tensor Weights(DType dtype, int64_t rows, int64_t columns);

 private:
  uint16_t Half();

  std::mt19937_64 random_;
};

inline constexpr DType kWeightTypes[] = {DType::kF32,  DType::kF16,  DType::kBF16, DType::kF8E4M3,
                                         DType::kQ8_0, DType::kQ4_0, DType::kQ4_1, DType::kQ5_0,
                                         DType::kQ5_1, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K};

// Keys and values of several sequences, in pages dealt in random order.
struct PagedSequences {
  Tensor k;
  Tensor v;
  std::vector<int32_t> page_offsets;
  std::vector<int32_t> pages;

  KvPages View() { return {k.view(), v.view()}; }
};
struct PageShape {
  DType dtype = DType::kF32;
  int64_t kv_heads = 1;
  int64_t page_tokens = 16;
  int64_t head_dim = 16;
};
// Room for lengths[s] positions of each sequence; the pages are zero.
PagedSequences MakePages(const PageShape& shape, std::span<const int64_t> lengths,
                         Sampler& sampler);

// A backend for each target of this machine and each number of threads in {1, 2, 3}.
struct Backend {
  std::string name;
  std::unique_ptr<Ops> ops;
  bool bf16_products = true;  // in native arithmetic
};
std::vector<Backend> AllCpuBackends(Arithmetic arithmetic = Arithmetic::kFp32);

inline TensorView Matrix(std::vector<float>& values, int64_t rows, int64_t columns) {
  return ViewOf(std::span<float>(values), Shape{rows, columns});
}
inline ConstTensorView Matrix(const std::vector<float>& values, int64_t rows, int64_t columns) {
  return ViewOf(std::span<const float>(values), Shape{rows, columns});
}

// Index of the first element whose bits differ, or -1.
int64_t FirstDifference(std::span<const float> a, std::span<const float> b);

}  // namespace trireme
