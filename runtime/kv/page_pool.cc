#include "runtime/kv/page_pool.h"

#include <algorithm>

#include "absl/strings/str_format.h"

namespace trireme {

std::map<std::string, DType> KvDTypesByName() {
  return {{"f32", DType::kF32}, {"f16", DType::kF16}, {"q8_0", DType::kQ8_0}};
}

absl::Status CheckKvDType(DType dtype, int64_t head_dim) {
  const std::map<std::string, DType> known = KvDTypesByName();
  if (std::ranges::none_of(known, [=](const auto& entry) { return entry.second == dtype; })) {
    return absl::InvalidArgumentError(
        absl::StrFormat("the KV cache must be F32, F16 or Q8_0; got %s", std::string(Name(dtype))));
  }
  const int block = Traits(dtype).block_elements;
  if (head_dim % block != 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "a KV cache of %s needs heads of a multiple of %d values; the model's have %d; use f16",
        std::string(Name(dtype)), block, head_dim));
  }
  return absl::OkStatus();
}

int64_t PagePoolShape::page_bytes() const {
  return 2 * kv_heads * page_tokens * RowBytes(dtype, head_dim);
}

int64_t PagePoolShape::bytes() const {
  int64_t all_pages = 0;
  for (const bool is_chunked : chunked) all_pages += is_chunked ? chunk_pages : pages;
  return all_pages * page_bytes();
}

PagePool::PagePool(const PagePoolShape& shape) : chunked_(shape.chunked) {
  for (const bool is_chunked : shape.chunked) {
    const Shape extents{is_chunked ? shape.chunk_pages : shape.pages, shape.kv_heads,
                        shape.page_tokens, shape.head_dim};
    Tensor& k = tensors_.emplace_back(shape.dtype, extents);
    const TensorView k_view = k.view();
    Tensor& v = tensors_.emplace_back(shape.dtype, extents);
    layers_.push_back({k_view, v.view()});
  }
}

}  // namespace trireme
