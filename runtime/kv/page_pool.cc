#include "runtime/kv/page_pool.h"

namespace trireme {

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
