#include "runtime/tensor/shape.h"

#include "runtime/base/check.h"

namespace trireme {

Shape::Shape(std::initializer_list<int64_t> extents) {
  for (const int64_t extent : extents) Append(extent);
}

void Shape::Append(int64_t extent) {
  TRI_CHECK_LT(rank_, kMaxRank);
  extents_[static_cast<size_t>(rank_++)] = extent;
}

int64_t Shape::elements() const {
  int64_t product = 1;
  for (int axis = 0; axis < rank_; ++axis) product *= (*this)[axis];
  return product;
}

std::string Shape::ToString() const {
  std::string text = "[";
  for (int axis = 0; axis < rank_; ++axis) {
    if (axis > 0) text += ", ";
    text += std::to_string((*this)[axis]);
  }
  return text + "]";
}

}  // namespace trireme
