#include "runtime/tensor/tensor.h"

#include <cstdint>
#include <vector>

#include "gtest/gtest.h"

namespace trireme {
namespace {

TEST(Tensor, IsAlignedAndZero) {
  Tensor tensor(DType::kQ8_0, Shape{3, 64});
  EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.view().data) % 64, 0u);
  for (int64_t i = 0; i < tensor.view().bytes(); ++i) {
    EXPECT_EQ(tensor.view().data[i], std::byte{0});
  }
  EXPECT_TRUE(Tensor(DType::kF32, Shape{0, 7}).view().empty());
}

TEST(TensorView, SlicesOfRowsAndColumnsPointIntoTheWhole) {
  std::vector<float> values(12);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  const TensorView whole = ViewOf(std::span(values), Shape{3, 4});
  const TensorView slice = whole.Rows({1, 3}).Columns({2, 4});
  EXPECT_EQ(slice.shape, (Shape{2, 2}));
  EXPECT_FALSE(slice.contiguous());
  EXPECT_EQ(slice.row_as<float>(0)[0], 6);
  EXPECT_EQ(slice.row_as<float>(1)[1], 11);
  EXPECT_EQ(slice.bytes(), 16);
}

TEST(TensorView, ColumnsOfBlockTypesMustLieOnBlocks) {
  Tensor tensor(DType::kQ4_0, Shape{2, 64});
  EXPECT_EQ(tensor.view().Columns({32, 64}).data, tensor.view().data + 18);
  EXPECT_DEATH(tensor.view().Columns({16, 48}), "Q4_0");
}

TEST(TensorView, ReshapesOnlyWhatIsContiguous) {
  Tensor tensor(DType::kF32, Shape{2, 6});
  EXPECT_EQ(tensor.view().Reshaped(Shape{3, 4}).shape, (Shape{3, 4}));
  EXPECT_DEATH(tensor.view().Reshaped(Shape{5}), "elements");
  EXPECT_DEATH(tensor.view().Columns({0, 3}).Reshaped(Shape{6}), "contiguous");
}

}  // namespace
}  // namespace trireme
