#include "runtime/tensor/tensor.h"

#include <cstdlib>
#include <cstring>

namespace trireme {

Tensor::Tensor(DType dtype, Shape shape) : dtype_(dtype), shape_(shape) {
  const auto bytes = static_cast<size_t>(TensorView(nullptr, dtype, shape).bytes());
  const size_t rounded = (bytes + 63) / 64 * 64;
  if (rounded == 0) return;
  storage_.reset(static_cast<std::byte*>(std::aligned_alloc(64, rounded)));
  TRI_CHECK(storage_ != nullptr) << "out of host memory for " << rounded << " bytes";
  std::memset(storage_.get(), 0, rounded);
}

void Tensor::Free::operator()(std::byte* data) const { std::free(data); }

}  // namespace trireme
