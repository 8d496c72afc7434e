// The bytes of a rank's KV cache: for each layer of its stage, pages of keys and of values. Which
// page belongs to whom is not known here (the engine keeps accounts, the plan names page ids).
//
// A layer of chunked attention looks back no further than its chunk began, so that it keeps only
// the chunk that a sequence is in: it has pages of its own, far fewer for a long context.
//
// Keys and values are kept in fp32, in fp16, or in 8 bits: Q8_0, an int8 a value with an fp16 scale
// for every 32 values of a head (34 bytes for 32 values, 0.53 of fp16). Why not FP8 (e4m3)? Its
// three bits of mantissa round a value by up to 1/16, whatever its neighbours are; int8 rounds it
// by at most 1/254 of the greatest of its 32. The scales cost half a bit a value, keep outlying
// channels of K from coarsening the others of a head, need no calibration and never saturate; every
// processor widens int8 in one instruction; and the format is one that readers and kernels already
// know. A row is quantised by itself as it is written, so the bytes depend on nothing but the row,
// and any mesh, batch or chunk reads the same cache.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "runtime/ops/ops.h"
#include "runtime/tensor/tensor.h"

namespace trireme {

// What operators call the formats of a cache: "f32", "f16", "q8_0".
std::map<std::string, DType> KvDTypesByName();

// INVALID_ARGUMENT where heads of this size cannot be kept in that type.
absl::Status CheckKvDType(DType dtype, int64_t head_dim);

struct PagePoolShape {
  std::vector<bool> chunked;  // by layer of this stage
  int64_t pages = 0;          // of a layer that keeps every position
  int64_t chunk_pages = 0;    // of a chunked layer
  int64_t kv_heads = 0;       // of this rank
  int64_t page_tokens = 0;
  int64_t head_dim = 0;
  DType dtype = DType::kF32;  // CheckKvDType has accepted it

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
