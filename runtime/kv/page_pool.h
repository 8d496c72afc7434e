// The bytes of a rank's KV cache: for each layer of its stage, pages of keys and of values. Which
// page belongs to whom is not known here (the engine keeps accounts, the plan names page ids).
//
// A layer of chunked attention looks back no further than its chunk began, so that it keeps only
// the chunk that a sequence is in: it has pages of its own, far fewer for a long context.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/ops/ops.h"
#include "runtime/tensor/tensor.h"

namespace trireme {

struct PagePoolShape {
  std::vector<bool> chunked;  // by layer of this stage
  int64_t pages = 0;          // of a layer that keeps every position
  int64_t chunk_pages = 0;    // of a chunked layer
  int64_t kv_heads = 0;       // of this rank
  int64_t page_tokens = 0;
  int64_t head_dim = 0;
  DType dtype = DType::kF32;  // kF32 or kF16

  // Of one page of one layer, and of the whole pool.
  int64_t page_bytes() const;
  int64_t bytes() const;
};

class PagePool {
 public:
  explicit PagePool(const PagePoolShape& shape);

  std::span<const KvPages> layers() const { return layers_; }
  // Whether a layer, counted from this stage's first, keeps only the current chunk.
  bool chunked(size_t layer) const { return chunked_[layer]; }

 private:
  const std::vector<bool> chunked_;
  std::vector<Tensor> tensors_;
  std::vector<KvPages> layers_;
};

}  // namespace trireme
