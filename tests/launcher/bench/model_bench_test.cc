#include "launcher/bench/model_bench.h"

#include <gtest/gtest.h>

#include <memory>

#include "tests/support/prefix_executor.h"
#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

EngineOptions OptionsFor(const ModelBenchOptions& bench) {
  EngineOptions options{.vocabulary = 100,
                        .page_tokens = 8,
                        .max_sequences = 8,
                        .max_step_tokens = 16,
                        .prefix_cache = false};
  const ModelBenchNeed need = NeedOf(bench, options.max_step_tokens, options.page_tokens);
  options.max_positions = need.positions;
  options.pages = need.kv_positions / options.page_tokens;
  return options;
}

absl::StatusOr<std::vector<ModelBenchRow>> BenchWith(const ModelBenchOptions& bench,
                                                     PrefixExecutor::BeforeStep before_step) {
  const EngineOptions options = OptionsFor(bench);
  Engine engine(options, std::make_unique<PrefixExecutor>(options.vocabulary, options.pages,
                                                          options.page_tokens, before_step));
  return BenchModel(engine, bench);
}

ModelBenchOptions Small() {
  ModelBenchOptions bench;
  bench.prompts = {40};
  bench.batches = {1, 5};
  bench.contexts = {20};
  bench.tokens = 4;
  bench.repetitions = 2;
  return bench;
}

TEST(ModelBenchTest, MeasuresEveryCaseInACacheOfTheSizeItAsksFor) {
  const auto rows = BenchWith(Small(), [](uint64_t) { return absl::OkStatus(); });
  ASSERT_OK(rows);
  ASSERT_EQ(rows->size(), 3u);
  EXPECT_EQ((*rows)[0].what, "prefill");
  EXPECT_EQ((*rows)[2].batch, 5);
  for (const ModelBenchRow& row : *rows) {
    ASSERT_EQ(row.tokens_per_second.size(), 2u);
    for (const double rate : row.tokens_per_second) EXPECT_GT(rate, 0);
  }
}

TEST(ModelBenchTest, EndsWithTheErrorOfALostGroup) {
  const auto rows = BenchWith(Small(), [](uint64_t step) {
    return step < 12 ? absl::OkStatus() : absl::DeadlineExceededError("rank 1 is late");
  });
  EXPECT_THAT(rows.status().message(), testing::HasSubstr("rank 1 is late"));
}

}  // namespace
}  // namespace trireme
