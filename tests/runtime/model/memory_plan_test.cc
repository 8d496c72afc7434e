#include "runtime/model/memory_plan.h"

#include <gtest/gtest.h>

#include "runtime/model/architecture.h"
#include "runtime/model/weights.h"
#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

struct Opened {
  ModelConfig config;
  TensorTable table;
  std::shared_ptr<const TensorSource> source;
};

Opened Open(std::string_view name) {
  auto checkpoint =
      OpenCheckpoint(std::string(TRIREME_SOURCE_DIR) + "/tests/data/models/" + std::string(name));
  EXPECT_OK(checkpoint);
  Opened opened;
  opened.config = *ConfigOf(*checkpoint);
  opened.table = (*FindArchitecture(opened.config.architecture))->tensors(opened.config);
  opened.source = std::move(checkpoint->tensors);
  return opened;
}

// The planner's account of weights is what a rank binds, at every place of every mesh.
TEST(MemoryPlan, WeightsAreWhatIsBound) {
  for (const char* name : {"llama3-tiny-bf16", "llama-tied", "llama3-tiny-gguf-q8_0",
                           "llama4-maverick-tiny", "llama4-fp8"}) {
    const std::string file = std::string(name) == "llama3-tiny-gguf-q8_0" ? "/model-q8_0.gguf" : "";
    const Opened model = Open(name + file);
    const auto types = ReadStoredTypes(model.table, *model.source);
    ASSERT_OK(types);
    for (const int stages : {1, 2}) {
      for (const int shards : {1, 2}) {
        for (const int groups : {1, 2}) {
          if (groups > (model.config.experts ? shards : 1)) continue;
          for (int place = 0; place < stages * shards; ++place) {
            const auto extent = MakeExtent(model.config, {.stage = place / shards,
                                                          .stages = stages,
                                                          .shard = place % shards,
                                                          .shards = shards,
                                                          .expert_groups = groups});
            ASSERT_OK(extent);
            const auto weights = Weights::Bind(model.table, *extent, model.source);
            ASSERT_OK(weights);
            EXPECT_EQ(WeightBytes({model.table, *types}, *extent), weights->bytes())
                << name << " stage " << place / shards << " shard " << place % shards;
          }
        }
      }
    }
  }
}

TEST(MemoryPlan, CountsPagesAndScratch) {
  const Opened model = Open("llama3-tiny-bf16");
  const auto extent = MakeExtent(model.config, {});
  ASSERT_OK(extent);
  MemoryOptions options{
      .pages = 3, .page_tokens = 32, .limits = {.max_step_tokens = 16, .max_positions = 96}};
  const MemoryPlan plan = PlanMemory(1000, model.config, *extent, options);
  const ModelConfig& c = model.config;
  EXPECT_EQ(plan.kv, 2 * 2 * c.layers * 3 * 32 * c.kv_heads * c.head_dim);
  options.kv_dtype = DType::kQ8_0;
  EXPECT_EQ(PlanMemory(1000, c, *extent, options).kv,
            2 * c.layers * 3 * 32 * c.kv_heads * c.head_dim / 32 * 34);
  options.kv_dtype = DType::kF16;
  const StepScratch scratch = ScratchOf(c, *extent, options.limits);
  EXPECT_EQ(scratch.hidden, (Shape{16, c.hidden}));
  EXPECT_EQ(scratch.shard_logits, (Shape{kHeadRows, c.vocabulary}));
  EXPECT_EQ(scratch.expert_rows.elements(), 0);
  EXPECT_EQ(plan.scratch, scratch.bytes());
  EXPECT_EQ(plan.total(), 1000 + plan.kv + plan.scratch);
  options.limits.max_step_tokens = 17;
  const int64_t row =
      4 * (3 * c.hidden + 2 * (c.query_heads + c.kv_heads) * c.head_dim + 2 * c.intermediate);
  EXPECT_EQ(PlanMemory(1000, c, *extent, options).scratch, plan.scratch + row);
}

TEST(MemoryPlan, ChunkedLayersKeepOneChunkOfASequence) {
  const Opened model = Open("llama4-maverick-tiny");
  const auto extent = MakeExtent(model.config, {});
  ASSERT_OK(extent);
  MemoryOptions options{
      .pages = 100, .page_tokens = 16, .limits = {.max_step_tokens = 16, .max_positions = 1600}};
  options.chunk_pages = ChunkPagesFor(model.config, 3, options);
  EXPECT_EQ(options.chunk_pages, 3 * AttentionChunk(model.config) / 16);
  // Every fourth layer keeps all.
  const PagePoolShape pool = PoolShapeOf(model.config, *extent, options);
  EXPECT_EQ(pool.bytes(), pool.page_bytes() * (2 * 100 + 6 * options.chunk_pages));
  options.pages = 4;
  EXPECT_EQ(ChunkPagesFor(model.config, 3, options), 4);
}

TEST(MemoryPlan, OnlyTheLastStageHoldsLogits) {
  const Opened model = Open("llama3-tiny-bf16");
  const auto first = MakeExtent(model.config, {.stage = 0, .stages = 2});
  ASSERT_OK(first);
  EXPECT_EQ(ScratchOf(model.config, *first, {}).shard_logits.elements(), 0);
}

TEST(MemoryPlan, AMissingTensorIsNamed) {
  Opened model = Open("llama3-tiny-bf16");
  model.table[0].name = "model.layers.0.no_such.weight";
  EXPECT_THAT(ReadStoredTypes(model.table, *model.source).status(),
              StatusIs(absl::StatusCode::kNotFound, testing::HasSubstr("no_such")));
}

// A plan for such a model would be of sizes that no checkpoint has.
TEST(MemoryPlan, AConfigurationOfMoreExpertsThanThereAreIsRefused) {
  Opened model = Open("llama4-maverick-tiny");
  model.config.experts->count = 128;
  model.table = (*FindArchitecture(model.config.architecture))->tensors(model.config);
  EXPECT_THAT(ReadStoredTypes(model.table, *model.source).status(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       testing::HasSubstr("says 128 where the weights have 8")));
}

}  // namespace
}  // namespace trireme
