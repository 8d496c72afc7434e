#include "runtime/tensor/tensor.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>

namespace trireme {
namespace {

constexpr size_t kMapFrom = size_t{1} << 20;

}  // namespace

Tensor::Tensor(DType dtype, Shape shape) : dtype_(dtype), shape_(shape) {
  const auto bytes = static_cast<size_t>(TensorView(nullptr, dtype, shape).bytes());
  const size_t rounded = (bytes + 63) / 64 * 64;
  if (rounded == 0) return;
  if (rounded >= kMapFrom) {
    void* data = mmap(nullptr, rounded, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    TRI_CHECK(data != MAP_FAILED) << "out of address space for " << rounded << " bytes";
    storage_ = {static_cast<std::byte*>(data), Free{rounded}};
    return;
  }
  storage_ = {static_cast<std::byte*>(std::aligned_alloc(64, rounded)), Free{}};
  TRI_CHECK(storage_ != nullptr) << "out of host memory for " << rounded << " bytes";
  std::memset(storage_.get(), 0, rounded);
}

void Tensor::Free::operator()(std::byte* data) const {
  if (mapped_bytes_ > 0) {
    munmap(data, mapped_bytes_);
  } else {
    std::free(data);
  }
}

}  // namespace trireme
