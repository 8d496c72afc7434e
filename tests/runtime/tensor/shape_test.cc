#include "runtime/tensor/shape.h"

#include "gtest/gtest.h"

namespace trireme {
namespace {

TEST(Shape, CountsElements) {
  EXPECT_EQ(Shape{}.elements(), 1);
  EXPECT_EQ((Shape{3, 4, 5}).elements(), 60);
  EXPECT_EQ((Shape{3, 0}).elements(), 0);
}

TEST(Shape, ComparesExtentsAndRank) {
  EXPECT_EQ((Shape{2, 3}), (Shape{2, 3}));
  EXPECT_NE((Shape{2, 3}), (Shape{3, 2}));
  EXPECT_NE((Shape{2}), (Shape{2, 1}));
}

TEST(Shape, PrintsAsAList) {
  EXPECT_EQ((Shape{49152, 576}).ToString(), "[49152, 576]");
  EXPECT_EQ(Shape{}.ToString(), "[]");
}

TEST(Shape, RefusesAFifthAxis) { EXPECT_DEATH((Shape{1, 1, 1, 1, 1}), "rank"); }

}  // namespace
}  // namespace trireme
