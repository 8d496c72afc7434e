#include "parallel/mesh.h"

#include <gtest/gtest.h>

#include <set>

#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

using testing::AllOf;
using testing::EndsWith;
using testing::HasSubstr;

// 9 heads over 3 KV heads, as SmolLM2 has.
ModelConfig NineHeads() {
  ModelConfig config;
  config.architecture = "llama";
  config.hidden = 576;
  config.layers = 30;
  config.query_heads = 9;
  config.kv_heads = 3;
  config.head_dim = 64;
  config.intermediate = 1536;
  config.vocabulary = 49152;
  config.max_positions = 2048;
  return config;
}

TEST(MeshTest, RanksAndCoordinatesAreOneToOne) {
  for (const Mesh mesh : {Mesh{}, Mesh{3, 1, 4}, Mesh{2, 2, 4}, Mesh{5, 4, 1}}) {
    std::set<int> seen;
    for (int stage = 0; stage < mesh.pp; ++stage) {
      for (int expert = 0; expert < mesh.ep; ++expert) {
        for (int tensor = 0; tensor < mesh.tp; ++tensor) {
          const Coordinate coordinate{stage, expert, tensor};
          const int rank = RankOf(mesh, coordinate);
          EXPECT_EQ(CoordinateOf(mesh, rank), coordinate);
          EXPECT_TRUE(seen.insert(rank).second) << rank;
        }
      }
    }
    EXPECT_EQ(*seen.begin(), 0);
    EXPECT_EQ(*seen.rbegin(), mesh.ranks() - 1);
  }
}

TEST(MeshTest, StagesAreContiguousAndNeighboursKeepTheShard) {
  const Mesh mesh{.pp = 3, .ep = 2, .tp = 2};
  for (int rank = 0; rank < mesh.ranks(); ++rank) {
    const Place place = PlaceOf(mesh, rank);
    EXPECT_EQ(place.stage, rank / 4);
    EXPECT_EQ(place.shard, rank % 4);
    EXPECT_EQ(place.stages, 3);
    EXPECT_EQ(place.shards, 4);
    const auto previous = PreviousStageRank(mesh, rank);
    const auto next = NextStageRank(mesh, rank);
    EXPECT_EQ(previous.has_value(), place.stage > 0);
    EXPECT_EQ(next.has_value(), place.stage < 2);
    if (previous) {
      EXPECT_EQ(NextStageRank(mesh, *previous), rank);
    }
    if (next) {
      EXPECT_EQ(PlaceOf(mesh, *next).shard, place.shard);
    }
  }
}

TEST(MeshTest, FitsWhatTheTreeOfHeadsAllows) {
  for (const int tp : {1, 2, 4}) {
    for (const int pp : {1, 2, 7, 30}) {
      EXPECT_OK(CheckMesh(NineHeads(), {.pp = pp, .tp = tp})) << pp << ' ' << tp;
    }
  }
}

TEST(MeshTest, RefusesTpThatIsNoPowerOfTwoAndNamesTheNearest) {
  EXPECT_THAT(CheckMesh(NineHeads(), {.tp = 3}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("power of two"), HasSubstr("got tp=3"),
                             HasSubstr("--tp 2 --pp 1 or --tp 4 --pp 1"))));
  for (const int tp : {0, -1, -2147483647, 6, 1 << 30, 2147483647}) {
    EXPECT_THAT(CheckMesh(NineHeads(), {.tp = tp}),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("nearest that fits: --tp")))
        << tp;
  }
}

// The second half of the tree has one KV head with three query heads: too few for four ranks.
TEST(MeshTest, RefusesARankWithoutAHead) {
  EXPECT_THAT(CheckMesh(NineHeads(), {.pp = 2, .tp = 8}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("9 over 3 KV heads"), HasSubstr("got tp=8"),
                             EndsWith("nearest that fits: --tp 4 --pp 2"))));
}

TEST(MeshTest, RefusesMoreStagesThanLayers) {
  EXPECT_THAT(CheckMesh(NineHeads(), {.pp = 31, .tp = 2}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("in [1, 30]"), HasSubstr("--tp 2 --pp 30"))));
  EXPECT_THAT(CheckMesh(NineHeads(), {.pp = 0}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--tp 1 --pp 1")));
}

TEST(MeshTest, RefusesExpertsOfADenseModel) {
  EXPECT_THAT(CheckMesh(NineHeads(), {.ep = 2}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no routed experts")));
}

ModelConfig SixteenExperts() {
  ModelConfig config = NineHeads();
  config.architecture = "llama4";
  config.query_heads = 40;
  config.kv_heads = 8;
  config.layer_kinds.resize(static_cast<size_t>(config.layers));
  config.experts = ExpertConfig{.count = 16, .per_token = 1, .width = 8192};
  return config;
}

TEST(MeshTest, DealsExpertsWholeOrSliced) {
  EXPECT_OK(CheckMesh(SixteenExperts(), {.ep = 8}));
  EXPECT_OK(CheckMesh(SixteenExperts(), {.pp = 2, .ep = 2, .tp = 4}));
  const auto extent = MakeExtent(SixteenExperts(), PlaceOf({.ep = 2, .tp = 2}, 3));
  ASSERT_OK(extent);
  EXPECT_EQ(extent->routed_experts, (Range{8, 16}));
  EXPECT_EQ(extent->routed_expert.columns, (Range{4096, 8192}));
  EXPECT_EQ(extent->shared_expert.columns, (Range{6144, 8192}));
}

TEST(MeshTest, RefusesExpertGroupsThatDoNotFitAndNamesThoseThatDo) {
  EXPECT_THAT(CheckMesh(SixteenExperts(), {.ep = 5}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("power of two"), HasSubstr("ep=5"),
                             HasSubstr("--tp 1 --pp 1 --ep 4 or --tp 1 --pp 1 --ep 8"))));
  EXPECT_THAT(CheckMesh(SixteenExperts(), {.ep = 2, .tp = 3}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("tp=3"), HasSubstr("--tp 2 --pp 1 --ep 2"))));
  ModelConfig few = SixteenExperts();
  few.experts->count = 2;
  EXPECT_THAT(CheckMesh(few, {.ep = 4}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("routed expert"), HasSubstr("--ep 2"))));
}

TEST(MeshTest, RefusesAJobOfAnotherSize) {
  EXPECT_OK(CheckWorld({.pp = 2, .tp = 2}, 4));
  EXPECT_THAT(CheckWorld({.pp = 2, .tp = 2}, 3),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("needs 4 ranks"), HasSubstr("mpirun -n 4"))));
}

}  // namespace
}  // namespace trireme
