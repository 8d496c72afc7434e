#include "launcher/planner/mlp_bench.h"

#include <gtest/gtest.h>

#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

// Odd widths, which blocks of 32 do not divide.
constexpr int64_t kHidden = 2050;
constexpr int64_t kWidth = 4100;

TEST(MlpBenchTest, MultipliesEveryFormOnMoreThanACacheHolds) {
  for (const MatrixForm& form :
       {MatrixForm{DType::kBF16}, MatrixForm{DType::kBF16, true}, MatrixForm{DType::kQ4_1}}) {
    const auto bench = MlpBench::Make({.form = form, .hidden = kHidden, .width = kWidth});
    ASSERT_OK(bench);
    EXPECT_GE((*bench)->weight_bytes(), 96e6);
    int layers = 0;
    for (const int64_t tokens : {int64_t{1}, int64_t{3}}) {
      (*bench)->Multiply(tokens, [&] { ++layers; });
    }
    EXPECT_EQ(layers, 2 * (*bench)->layers());
  }
}

TEST(MlpBenchTest, CountsThreeProductsALayer) {
  const auto bench = MlpBench::Make({.form = {DType::kBF16}, .hidden = kHidden, .width = kWidth});
  ASSERT_OK(bench);
  const double matrices = 3.0 * kHidden * kWidth * static_cast<double>((*bench)->layers());
  EXPECT_DOUBLE_EQ((*bench)->weight_bytes(), 2 * matrices);
  EXPECT_DOUBLE_EQ((*bench)->flops_per_token(), 2 * matrices);
}

}  // namespace
}  // namespace trireme
