#include "runtime/tensor/dtype.h"

#include "gtest/gtest.h"

namespace trireme {
namespace {

constexpr DType kAll[] = {DType::kF32,  DType::kF16,  DType::kBF16, DType::kF8E4M3, DType::kI32,
                          DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1,   DType::kQ8_0,
                          DType::kQ4_K, DType::kQ5_K, DType::kQ6_K};

TEST(DType, NamesComeBack) {
  for (const DType dtype : kAll) {
    EXPECT_EQ(DTypeFromName(Name(dtype)), dtype) << Name(dtype);
  }
  EXPECT_EQ(DTypeFromName("F64"), std::nullopt);
  EXPECT_EQ(DTypeFromName(""), std::nullopt);
  EXPECT_EQ(DTypeFromName("q4_0"), std::nullopt);
}

TEST(DType, RowsTakeWholeBlocks) {
  EXPECT_EQ(RowBytes(DType::kF32, 3), 12);
  EXPECT_EQ(RowBytes(DType::kBF16, 576), 1152);
  EXPECT_EQ(RowBytes(DType::kQ4_1, 576), 360);
  EXPECT_EQ(RowBytes(DType::kQ6_K, 512), 420);
  EXPECT_EQ(RowBytes(DType::kQ8_0, 0), 0);
  EXPECT_DEATH(RowBytes(DType::kQ4_1, 33), "Q4_1");
}

TEST(DType, TellsBlocksFromScalars) {
  EXPECT_FALSE(IsBlockType(DType::kF8E4M3));
  EXPECT_TRUE(IsBlockType(DType::kQ8_0));
}

}  // namespace
}  // namespace trireme
