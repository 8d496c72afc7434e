#include "parallel/partition.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "runtime/model/architecture.h"
#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

// Small enough that every element of every tensor can be counted.
ModelConfig RandomConfig(std::mt19937& random) {
  const auto pick = [&](int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random);
  };
  ModelConfig config;
  config.architecture = "llama";
  config.kv_heads = pick(1, 6);
  config.query_heads = config.kv_heads * pick(1, 5);
  config.head_dim = 2 * pick(1, 3);
  config.hidden = pick(1, 12);
  config.layers = pick(1, 6);
  config.intermediate = pick(8, 40);
  config.vocabulary = pick(1, 50);
  config.max_positions = 16;
  config.tied_head = pick(0, 1) == 1;
  return config;
}

// The same with routed experts in some layers.
ModelConfig RandomExperts(std::mt19937& random) {
  ModelConfig config = RandomConfig(random);
  const auto pick = [&](int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random);
  };
  config.architecture = "llama4";
  config.layer_kinds.resize(static_cast<size_t>(config.layers));
  for (LayerKind& kind : config.layer_kinds) kind.routed = pick(0, 1) == 1;
  ExpertConfig experts;
  experts.count = pick(1, 9);
  experts.width = pick(8, 20);
  experts.form = static_cast<ExpertForm>(pick(0, 2));
  experts.scaled = experts.form != ExpertForm::kStacked && pick(0, 1) == 1;
  config.experts = experts;
  return config;
}

std::string Describe(const ModelConfig& c, const Mesh& mesh) {
  return mesh.ToString() + " heads=" + std::to_string(c.query_heads) + "/" +
         std::to_string(c.kv_heads) + " dim=" + std::to_string(c.head_dim) +
         " hidden=" + std::to_string(c.hidden) + " layers=" + std::to_string(c.layers) +
         " mlp=" + std::to_string(c.intermediate) + " vocabulary=" + std::to_string(c.vocabulary) +
         (c.tied_head ? " tied" : "");
}

int64_t RowsOf(const Shape& shape) {
  return shape.rank() == 1 ? shape[0] : shape[shape.rank() - 2];
}
int64_t ColumnsOf(const Shape& shape) { return shape.rank() == 1 ? 1 : shape[shape.rank() - 1]; }

// How often each element of a tensor is held, as [experts * rows * columns] counts.
std::vector<int> CountHolders(const TensorSpec& spec, size_t row,
                              const std::vector<RankShare>& shares) {
  const int64_t columns = ColumnsOf(spec.shape);
  const int64_t rows = RowsOf(spec.shape);
  std::vector<int> counts(static_cast<size_t>(spec.shape.elements()));
  for (const RankShare& share : shares) {
    for (const HeldSlice& held : share.slices) {
      if (held.row != row) continue;
      const Slice& slice = held.slice;
      for (int64_t e = slice.experts.begin; e < slice.experts.end; ++e) {
        for (int64_t r = slice.rows.begin; r < slice.rows.end; ++r) {
          for (int64_t c = slice.columns.begin; c < slice.columns.end; ++c) {
            ++counts.at(static_cast<size_t>((e * rows + r) * columns + c));
          }
        }
      }
    }
  }
  return counts;
}

int StagesThatHold(const TensorSpec& spec, const Mesh& mesh) {
  switch (spec.holder) {
    case Holder::kLayer:
    case Holder::kFirstStage:
    case Holder::kLastStage:
      return 1;
    case Holder::kFirstAndLastStage:
      return mesh.pp == 1 ? 1 : 2;
    case Holder::kEveryStage:
      return mesh.pp;
  }
  return 0;
}

// Shards of a stage that own a query head of the group of `kv_head`: each needs that KV head.
int ShardsThatNeed(int64_t kv_head, const ModelConfig& config, const Mesh& mesh) {
  const int64_t group = config.query_heads / config.kv_heads;
  std::set<int> owners;
  for (int shard = 0; shard < mesh.shards(); ++shard) {
    const HeadSplit split =
        SplitHeads(config.query_heads, config.kv_heads, config.head_dim, shard, mesh.shards());
    for (int64_t head = split.query_heads.begin; head < split.query_heads.end; ++head) {
      if (head / group == kv_head) owners.insert(shard);
    }
  }
  return static_cast<int>(owners.size());
}

int ExpectedCopies(const TensorSpec& spec, int64_t tensor_row, const ModelConfig& config,
                   const Mesh& mesh) {
  const int stages = StagesThatHold(spec, mesh);
  // An expert's vector that is not cut is on every rank of the expert's group.
  if (spec.split == Split::kNone) return stages * (IsRouted(spec) ? mesh.tp : mesh.shards());
  if (spec.along == Along::kKvHeads) {
    return stages * ShardsThatNeed(tensor_row / spec.granule, config, mesh);
  }
  return stages;
}

// INV-TABLE-1.
TEST(PartitionTest, SlicesCoverEachElementOnceOrAsOftenAsItIsReplicated) {
  int fitting = 0;
  for (unsigned seed = 0; seed < 600; ++seed) {
    std::mt19937 random(seed);
    const ModelConfig config = seed % 2 == 0 ? RandomConfig(random) : RandomExperts(random);
    const int ep = config.experts ? 1 << std::uniform_int_distribution<int>(0, 2)(random) : 1;
    const Mesh mesh{.pp = std::uniform_int_distribution<int>(1, 6)(random),
                    .ep = ep,
                    .tp = 1 << std::uniform_int_distribution<int>(0, 3)(random)};
    SCOPED_TRACE("seed=" + std::to_string(seed) + " " + Describe(config, mesh));
    const auto architecture = FindArchitecture(config.architecture);
    ASSERT_OK(architecture);
    const TensorTable table = (*architecture)->tensors(config);
    const auto shares = Partition(table, config, mesh);
    ASSERT_EQ(shares.ok(), CheckMesh(config, mesh).ok());
    if (!shares.ok()) continue;
    ++fitting;
    ASSERT_EQ(static_cast<int>(shares->size()), mesh.ranks());
    for (size_t row = 0; row < table.size(); ++row) {
      const TensorSpec& spec = table[row];
      const std::vector<int> counts = CountHolders(spec, row, *shares);
      for (int64_t i = 0; i < spec.shape.elements(); ++i) {
        const int64_t tensor_row = i / ColumnsOf(spec.shape) % RowsOf(spec.shape);
        ASSERT_EQ(counts[static_cast<size_t>(i)], ExpectedCopies(spec, tensor_row, config, mesh))
            << spec.name << " element " << i;
      }
    }
  }
  EXPECT_GT(fitting, 150);
}

TEST(PartitionTest, LayersAreDealtWholeAndInOrder) {
  ModelConfig config;
  config.query_heads = config.kv_heads = 8;
  config.head_dim = 2;
  config.hidden = config.intermediate = config.vocabulary = 16;
  config.layers = 7;
  for (int pp = 1; pp <= 7; ++pp) {
    const auto shares = Partition({}, config, {.pp = pp, .tp = 2});
    ASSERT_OK(shares);
    int64_t next = 0;
    for (int stage = 0; stage < pp; ++stage) {
      const Range layers = (*shares)[static_cast<size_t>(stage * 2)].extent.layers;
      EXPECT_EQ(layers, (*shares)[static_cast<size_t>(stage * 2 + 1)].extent.layers);
      EXPECT_EQ(layers.begin, next);
      EXPECT_GE(layers.size(), 1);
      next = layers.end;
    }
    EXPECT_EQ(next, 7);
  }
}

TEST(PartitionTest, RefusesAMeshThatDoesNotFit) {
  ModelConfig config;
  config.query_heads = config.kv_heads = 2;
  config.head_dim = 2;
  config.hidden = config.intermediate = config.vocabulary = 16;
  config.layers = 2;
  EXPECT_THAT(Partition({}, config, {.tp = 4}),
              StatusIs(absl::StatusCode::kInvalidArgument, testing::HasSubstr("--tp 2 --pp 1")));
}

}  // namespace
}  // namespace trireme
