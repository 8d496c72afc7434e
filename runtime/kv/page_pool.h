// The bytes of a rank's KV cache: for each layer of its stage, pages of keys and of values. Which
// page belongs to whom is not known here (the engine keeps accounts, the plan names page ids).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/ops/ops.h"
#include "runtime/tensor/tensor.h"

namespace trireme {

struct PagePoolShape {
  int64_t layers = 0;  // of this stage
  int64_t pages = 0;
  int64_t kv_heads = 0;  // of this rank
  int64_t page_tokens = 0;
  int64_t head_dim = 0;
  DType dtype = DType::kF32;  // kF32 or kF16

  // Of the whole pool.
  int64_t bytes() const;
};

class PagePool {
 public:
  explicit PagePool(const PagePoolShape& shape);

  std::span<const KvPages> layers() const { return layers_; }

 private:
  std::vector<Tensor> tensors_;
  std::vector<KvPages> layers_;
};

}  // namespace trireme
