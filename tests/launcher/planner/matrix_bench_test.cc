#include "launcher/planner/matrix_bench.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

ModelSource Open(const std::string& name) {
  auto opened = DescribeModel(std::string(TRIREME_SOURCE_DIR) + "/tests/data/models/" + name);
  EXPECT_OK(opened);
  return *std::move(opened);
}

TEST(MatrixBenchTest, MultipliesEveryMatrixOfAModelOnce) {
  for (const char* name : {"llama3-tiny-bf16", "llama4-maverick-tiny", "llama4-fp8",
                           "llama3-tiny-gguf-q8_0/model-q8_0.gguf"}) {
    const ModelSource source = Open(name);
    const auto model = PlanModel(source);
    ASSERT_OK(model);
    const auto loads = LoadsOf(*model, {});
    ASSERT_OK(loads);
    double bytes = 0;
    double flops = 0;
    for (const MatrixGroup& group : loads->front().matrices) {
      bytes += static_cast<double>(group.bytes);
      flops += 2.0 * static_cast<double>(group.elements);
    }
    double benched = 0;
    double multiplied = 0;
    for (const MatrixForm& form : FormsOf(*model)) {
      const auto bench = MatrixBench::Make(*model, loads->front().extent, form);
      ASSERT_OK(bench);
      benched += (*bench)->weight_bytes();
      multiplied += (*bench)->flops_per_token();
      int64_t sums = 0;
      (*bench)->Multiply(3, [&] { ++sums; });
      EXPECT_EQ(sums, (*bench)->sums());
    }
    EXPECT_DOUBLE_EQ(benched, bytes) << name;
    EXPECT_DOUBLE_EQ(multiplied, flops) << name;
  }
}

TEST(MatrixBenchTest, ARankMultipliesItsSlicesAndSumsTwiceALayer) {
  const ModelSource source = Open("llama3-tiny-bf16");
  const auto model = PlanModel(source);
  ASSERT_OK(model);
  const auto loads = LoadsOf(*model, {.tp = 2});
  ASSERT_OK(loads);
  for (const RankLoad& load : *loads) {
    const auto bench = MatrixBench::Make(*model, load.extent, std::nullopt);
    ASSERT_OK(bench);
    (*bench)->Multiply(1);
    double bytes = 0;
    for (const MatrixGroup& group : load.matrices) bytes += static_cast<double>(group.bytes);
    EXPECT_DOUBLE_EQ((*bench)->weight_bytes(), bytes);
    EXPECT_EQ((*bench)->sums(), 2 * source.config.layers);
  }
}

}  // namespace
}  // namespace trireme
