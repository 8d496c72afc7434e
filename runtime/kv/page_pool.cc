#include "runtime/kv/page_pool.h"

namespace trireme {

int64_t PagePoolShape::bytes() const {
  return 2 * layers * pages * kv_heads * page_tokens * RowBytes(dtype, head_dim);
}

PagePool::PagePool(const PagePoolShape& shape) {
  const Shape extents{shape.pages, shape.kv_heads, shape.page_tokens, shape.head_dim};
  for (int64_t layer = 0; layer < shape.layers; ++layer) {
    Tensor& k = tensors_.emplace_back(shape.dtype, extents);
    const TensorView k_view = k.view();
    Tensor& v = tensors_.emplace_back(shape.dtype, extents);
    layers_.push_back({k_view, v.view()});
  }
}

}  // namespace trireme
