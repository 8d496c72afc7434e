#include "launcher/bench/measurement.h"

#include <gtest/gtest.h>

namespace trireme {
namespace {

TEST(QuantileTest, LiesBetweenNeighbours) {
  EXPECT_EQ(Quantile({4, 1, 3, 2}, 0), 1);
  EXPECT_EQ(Quantile({4, 1, 3, 2}, 1), 4);
  EXPECT_EQ(Median({4, 1, 3, 2}), 2.5);
  EXPECT_EQ(Median({7}), 7);
  EXPECT_EQ(Median({}), 0);
  EXPECT_DOUBLE_EQ(Quantile({0, 10}, 0.99), 9.9);
}

TEST(TextTableTest, AlignsColumns) {
  EXPECT_EQ(TextTable({{"", "rate"}, {"decode", "1.5"}, {"x", "100.25"}}),
            "          rate\n"
            "decode     1.5\n"
            "x       100.25\n");
}

}  // namespace
}  // namespace trireme
