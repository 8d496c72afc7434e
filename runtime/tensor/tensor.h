// TensorView: pointer + dtype + shape, rows possibly strided (a column slice of a mapped weight is a view,
// not a copy). Tensor: the same with ownership. Views are parameters; they own nothing.
//
// Memory belongs to the device named by the backend that allocated it; host code may dereference `data`
// only for Device::kCpu.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "runtime/base/check.h"
#include "runtime/tensor/dtype.h"
#include "runtime/tensor/shape.h"

namespace trireme {

// T is std::byte or const std::byte.
template <typename T>
struct BasicTensorView {
  T* data = nullptr;
  DType dtype = DType::kF32;
  Shape shape;
  // Bytes from one row (the last axis) to the next. Rows are contiguous unless this is a column slice.
  int64_t row_stride_bytes = 0;

  BasicTensorView() = default;
  BasicTensorView(T* d, DType type, Shape s)
      : data(d), dtype(type), shape(s), row_stride_bytes(RowBytes(type, LastExtent(s))) {}
  BasicTensorView(T* d, DType type, Shape s, int64_t stride)
      : data(d), dtype(type), shape(s), row_stride_bytes(stride) {}
  // A mutable view converts to a const one.
  template <typename U>
    requires(!std::is_same_v<U, T> && std::is_convertible_v<U*, T*>)
  BasicTensorView(const BasicTensorView<U>& other)  // NOLINT(google-explicit-constructor)
      : data(other.data),
        dtype(other.dtype),
        shape(other.shape),
        row_stride_bytes(other.row_stride_bytes) {}

  bool empty() const { return data == nullptr || shape.elements() == 0; }
  int64_t columns() const { return LastExtent(shape); }
  int64_t rows() const { return columns() == 0 ? 0 : shape.elements() / columns(); }
  bool contiguous() const { return row_stride_bytes == RowBytes(dtype, columns()); }
  int64_t bytes() const { return rows() * RowBytes(dtype, columns()); }

  T* row(int64_t index) const { return data + index * row_stride_bytes; }

  // Row `index` as elements of E (float for kF32, …).
  template <typename E>
  auto row_as(int64_t index) const {
    using Element = std::conditional_t<std::is_const_v<T>, const E, E>;
    return reinterpret_cast<Element*>(row(index));
  }
  // All elements of a contiguous view.
  template <typename E>
  auto span() const {
    using Element = std::conditional_t<std::is_const_v<T>, const E, E>;
    TRI_CHECK(contiguous() && static_cast<int>(sizeof(E)) == Traits(dtype).block_bytes);
    return std::span<Element>(reinterpret_cast<Element*>(data),
                              static_cast<size_t>(shape.elements()));
  }

  // Rows [range) of a matrix, and the same memory under another shape of equal size.
  BasicTensorView Rows(Range range) const {
    TRI_CHECK(shape.rank() == 2 && range.begin <= range.end && range.end <= shape[0]);
    return BasicTensorView(row(range.begin), dtype, Shape{range.size(), shape[1]},
                           row_stride_bytes);
  }
  // Columns [range) of a matrix; both ends on block boundaries.
  BasicTensorView Columns(Range range) const {
    TRI_CHECK(shape.rank() == 2 && range.begin <= range.end && range.end <= shape[1]);
    return BasicTensorView(data + RowBytes(dtype, range.begin), dtype,
                           Shape{shape[0], range.size()}, row_stride_bytes);
  }
  BasicTensorView Reshaped(Shape to) const {
    TRI_CHECK(contiguous() && to.elements() == shape.elements());
    return BasicTensorView(data, dtype, to);
  }

 private:
  static int64_t LastExtent(const Shape& s) { return s.rank() == 0 ? 1 : s[s.rank() - 1]; }
};

using TensorView = BasicTensorView<std::byte>;
using ConstTensorView = BasicTensorView<const std::byte>;

// Host memory, 64-byte aligned, zero until written. Large tensors come straight from the kernel, so that a KV pool
// or a scratch buffer costs no memory before it is used.
class Tensor {
 public:
  Tensor() = default;
  Tensor(DType dtype, Shape shape);

  TensorView view() { return TensorView(storage_.get(), dtype_, shape_); }
  ConstTensorView view() const { return ConstTensorView(storage_.get(), dtype_, shape_); }

 private:
  class Free {
   public:
    Free() : Free(0) {}
    explicit Free(size_t mapped_bytes) : mapped_bytes_(mapped_bytes) {}
    void operator()(std::byte* data) const;

   private:
    size_t mapped_bytes_;  // 0: from the heap
  };
  DType dtype_ = DType::kF32;
  Shape shape_;
  std::unique_ptr<std::byte, Free> storage_;
};

// Shapes for the common case of host fp32 data that a test or the sampler holds.
inline TensorView ViewOf(std::span<float> data, Shape shape) {
  TRI_CHECK_EQ(static_cast<int64_t>(data.size()), shape.elements());
  return TensorView(reinterpret_cast<std::byte*>(data.data()), DType::kF32, shape);
}
inline ConstTensorView ViewOf(std::span<const float> data, Shape shape) {
  TRI_CHECK_EQ(static_cast<int64_t>(data.size()), shape.elements());
  return ConstTensorView(reinterpret_cast<const std::byte*>(data.data()), DType::kF32, shape);
}

}  // namespace trireme
