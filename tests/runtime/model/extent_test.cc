#include "runtime/model/extent.h"

#include <gtest/gtest.h>

#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

ModelConfig SmolLm2() {
  ModelConfig config;
  config.hidden = 576;
  config.layers = 30;
  config.query_heads = 9;
  config.kv_heads = 3;
  config.head_dim = 64;
  config.intermediate = 1536;
  config.vocabulary = 49'152;
  return config;
}

TEST(Extent, OneRankHoldsEverything) {
  const auto extent = MakeExtent(SmolLm2(), {});
  ASSERT_OK(extent);
  EXPECT_EQ(extent->layers, (Range{0, 30}));
  EXPECT_EQ(extent->heads.query_heads, (Range{0, 9}));
  EXPECT_EQ(extent->mlp.columns, (Range{0, 1536}));
  EXPECT_EQ(extent->vocabulary, (Range{0, 49'152}));
  EXPECT_TRUE(extent->first_stage() && extent->last_stage());
}

TEST(Extent, UnevenHeadsSplitByKvHeads) {
  const auto left = MakeExtent(SmolLm2(), {.shard = 0, .shards = 2});
  const auto right = MakeExtent(SmolLm2(), {.shard = 1, .shards = 2});
  ASSERT_OK(left);
  ASSERT_OK(right);
  EXPECT_EQ(left->heads.kv_heads, (Range{0, 2}));
  EXPECT_EQ(left->heads.query_heads, (Range{0, 6}));
  EXPECT_EQ(right->heads.kv_heads, (Range{2, 3}));
  EXPECT_EQ(right->heads.query_heads, (Range{6, 9}));
}

TEST(Extent, RanksBeyondTheKvHeadsShareOne) {
  const auto third = MakeExtent(SmolLm2(), {.shard = 2, .shards = 4});
  const auto fourth = MakeExtent(SmolLm2(), {.shard = 3, .shards = 4});
  ASSERT_OK(third);
  ASSERT_OK(fourth);
  EXPECT_EQ(third->heads.query_heads, (Range{6, 8}));
  EXPECT_EQ(fourth->heads.query_heads, (Range{8, 9}));
  EXPECT_EQ(third->heads.kv_heads, fourth->heads.kv_heads);
}

std::vector<int64_t> LayersByStage(const ModelConfig& config, int stages) {
  std::vector<int64_t> layers;
  int64_t next = 0;
  for (int stage = 0; stage < stages; ++stage) {
    const auto extent = MakeExtent(config, {.stage = stage, .stages = stages});
    EXPECT_OK(extent);
    EXPECT_EQ(extent->layers.begin, next);
    next = extent->layers.end;
    layers.push_back(extent->layers.size());
  }
  EXPECT_EQ(next, config.layers);
  return layers;
}

TEST(Extent, ADenseModelsLastStageHasFewerLayersForItsHead) {
  // The head costs as much as 8 layers.
  EXPECT_THAT(LayersByStage(SmolLm2(), 2), ElementsAre(19, 11));
  EXPECT_THAT(LayersByStage(SmolLm2(), 3), ElementsAre(12, 13, 5));
}

TEST(Extent, EveryStageHasALayerHoweverManyThereAre) {
  for (int stages = 1; stages <= 30; ++stages) {
    for (const int64_t layers : LayersByStage(SmolLm2(), stages)) EXPECT_GE(layers, 1) << stages;
  }
}

TEST(Extent, StagesWithRoutedExpertsShareTheLayersEvenly) {
  ModelConfig config = SmolLm2();
  config.experts = ExpertConfig{.count = 8, .per_token = 1, .width = 64};
  EXPECT_THAT(LayersByStage(config, 3), ElementsAre(10, 10, 10));
}

TEST(Extent, VocabularyWidthsAreThoseOfTheShards) {
  ModelConfig config = SmolLm2();
  config.vocabulary = 11;
  const auto extent = MakeExtent(config, {.shard = 1, .shards = 4});
  ASSERT_OK(extent);
  EXPECT_THAT(extent->vocabulary_widths, ElementsAre(3, 3, 3, 2));
  EXPECT_EQ(extent->vocabulary, (Range{3, 6}));
}

TEST(Extent, RefusesMeshesThatLeaveARankWithNothing) {
  EXPECT_THAT(MakeExtent(SmolLm2(), {.shard = 7, .shards = 8}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("attention head")));
  EXPECT_THAT(MakeExtent(SmolLm2(), {.shards = 3}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("power of two")));
  EXPECT_THAT(MakeExtent(SmolLm2(), {.stages = 31}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("30 layers")));
}

}  // namespace
}  // namespace trireme
