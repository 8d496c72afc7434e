#include "launcher/planner/search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "launcher/planner/plan_report.h"
#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

using testing::HasSubstr;

// Eight devices in two nodes; round numbers.
v1::ClusterConfig TwoNodes() {
  v1::ClusterConfig config;
  config.set_name("two nodes");
  config.set_nodes(2);
  config.set_devices_per_node(4);
  v1::DeviceConfig& device = *config.mutable_device();
  device.set_memory_gb(1);
  device.set_memory_use(1);
  device.set_memory_bandwidth_gb_s(1);
  device.set_memory_efficiency(1);
  device.set_matmul_efficiency(1);
  v1::RateConfig& rate = *device.add_rates();
  rate.set_dtype("BF16");
  rate.set_tflops(0.001);
  config.mutable_node_link()->set_latency_us(1);
  config.mutable_node_link()->set_bandwidth_gb_s(10);
  config.mutable_network()->set_latency_us(10);
  config.mutable_network()->set_bandwidth_gb_s(1);
  config.set_price_per_node_hour(4);
  return config;
}

class SearchTest : public testing::Test {
 protected:
  void Open(const std::string& name) {
    auto opened = DescribeModel(std::string(TRIREME_SOURCE_DIR) + "/tests/data/models/" + name);
    ASSERT_OK(opened);
    source_ = *std::move(opened);
    auto planned = PlanModel(source_);
    ASSERT_OK(planned);
    model_ = std::make_unique<PlannedModel>(PlannedModel{source_, planned->types});
  }
  absl::StatusOr<MeshPlan> Plan(const Mesh& mesh) {
    return PlanMesh(*model_, Cluster(config_), mesh, workload_);
  }
  absl::StatusOr<PlanResult> Search(const MeshRequest& request = {}) {
    return SearchMeshes(*model_, Cluster(config_), request, workload_);
  }

  v1::ClusterConfig config_ = TwoNodes();
  Workload workload_{.batch = 1, .context = 64, .prompt = 32, .max_positions = 64};
  ModelSource source_;
  std::unique_ptr<PlannedModel> model_;
};

TEST_F(SearchTest, FindsEveryMeshThatDividesTheModel) {
  Open("llama4-maverick-tiny");
  const auto result = Search();
  ASSERT_OK(result);
  size_t expected = 0;
  for (int pp = 1; pp <= 8; ++pp) {
    for (int ep = 1; pp * ep <= 8; ep *= 2) {
      for (int tp = 1; pp * ep * tp <= 8; tp *= 2) {
        expected += CheckMesh(source_.config, {.pp = pp, .ep = ep, .tp = tp}).ok() ? 1 : 0;
      }
    }
  }
  EXPECT_EQ(result->plans.size(), expected);
  EXPECT_GT(expected, 10U);
  ASSERT_TRUE(result->recommended.plan.has_value());
  const MeshPlan& best = result->plans[*result->recommended.plan];
  for (const MeshPlan& plan : result->plans) {
    EXPECT_TRUE(!plan.fits || plan.decode.total() >= best.decode.total());
  }
  EXPECT_THAT(result->recommended.why, HasSubstr(best.mesh.ToString()));
}

TEST_F(SearchTest, RefusesAnAxisWithTheReasonAndWhatWouldWork) {
  Open("llama4-maverick-tiny");
  EXPECT_THAT(Search({.tp = 3}).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("nearest")));
  EXPECT_THAT(Search({.ep = 5}).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("got ep=5")));
  Open("llama3-tiny-bf16");
  EXPECT_THAT(Search({.ep = 2}).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no routed experts")));
  EXPECT_THAT(Search({.pp = 3}).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--pp 2")));
}

TEST_F(SearchTest, OneMeshMayTakeTurnsOnItsDevices) {
  Open("llama3-tiny-bf16");
  config_.set_nodes(1);
  config_.set_devices_per_node(2);
  const auto result = Search({.pp = 1, .tp = 4});
  ASSERT_OK(result);
  ASSERT_EQ(result->plans.size(), 1U);
  EXPECT_TRUE(result->plans[0].takes_turns);
  config_.set_devices_per_node(4);
  const auto apart = Plan({.tp = 4});
  ASSERT_OK(apart);
  EXPECT_NEAR(result->plans[0].decode.weights, 2 * apart->decode.weights, 1e-12);
}

TEST_F(SearchTest, RanksOfUnequalWorkShareDevicesByTheirWork) {
  Open("llama3-tiny-bf16");
  config_.set_nodes(1);
  config_.set_devices_per_node(2);
  const Mesh mesh{.tp = 4};
  auto loads = LoadsOf(*model_, mesh);
  ASSERT_OK(loads);
  const Cluster cluster(config_);
  const auto weights = [&] {
    return CostModel(cluster, source_.config, mesh, *loads, DType::kF16).Decode(1, 32).weights;
  };
  const double equal = weights();
  const auto grow = [&](double factor) {
    for (MatrixGroup& matrix : loads->front().matrices) {
      matrix.bytes = static_cast<int64_t>(static_cast<double>(matrix.bytes) * factor);
    }
  };
  // 2 + 1 + 1 + 1 over two devices; and a rank that alone takes longer than its share.
  grow(2);
  EXPECT_NEAR(weights() / equal, 5.0 / 4, 1e-9);
  grow(3);
  EXPECT_NEAR(weights() / equal, 6.0 / 2, 1e-9);
}

TEST_F(SearchTest, WeightsAreReadOnceAStepAtTheirBandwidth) {
  Open("llama3-tiny-bf16");
  const auto plan = Plan({});
  ASSERT_OK(plan);
  const double embedding = 2.0 * static_cast<double>(source_.config.vocabulary) *
                           static_cast<double>(source_.config.hidden);
  const double looked_up = source_.config.tied_head ? 0 : embedding;
  EXPECT_NEAR(plan->decode.weights,
              (static_cast<double>(plan->ranks[0].plan.weights) - looked_up) / 1e9, 1e-5);
  EXPECT_EQ(plan->decode.collectives, 0);
  EXPECT_EQ(plan->decode.hops, 0);
}

TEST_F(SearchTest, SumsCrossNodesByTheNetwork) {
  Open("llama3-tiny-bf16");
  const auto inside = Plan({.tp = 2});
  ASSERT_OK(inside);
  config_.set_nodes(2);
  config_.set_devices_per_node(1);
  const auto across = Plan({.tp = 2});
  ASSERT_OK(across);
  EXPECT_EQ(inside->ranks[1].node, 0);
  EXPECT_EQ(across->ranks[1].node, 1);
  // 2 sums a layer and the embedding's, and the gathering of logits: each 9 us later.
  const double exchanges = 2.0 * static_cast<double>(source_.config.layers) + 2;
  EXPECT_GT(across->decode.collectives, inside->decode.collectives + exchanges * 8.9e-6);
}

TEST_F(SearchTest, LargerBatchesReadMoreExpertsButNeverMoreThanThereAre) {
  Open("llama4-maverick-tiny");
  double last = 0;
  for (const int64_t batch : {1, 2, 8, 64, 512}) {
    workload_.batch = batch;
    const auto plan = Plan({});
    ASSERT_OK(plan);
    EXPECT_GT(plan->decode.weights, last);
    last = plan->decode.weights;
  }
  EXPECT_NEAR(ShareOfExperts(source_.config, 1), 1.0 / 8, 1e-12);
  EXPECT_NEAR(ShareOfExperts(source_.config, 1e6), 1, 1e-12);
}

TEST_F(SearchTest, LongestContextIsWhatStillFits) {
  Open("llama3-tiny-bf16");
  config_.mutable_device()->set_memory_gb(0.0045);
  workload_.max_positions = 0;
  auto plan = Plan({});
  ASSERT_OK(plan);
  ASSERT_GT(plan->longest_context, 0);
  ASSERT_LT(plan->longest_context, source_.config.max_positions);
  workload_.context = plan->longest_context;
  EXPECT_TRUE(Plan({})->fits);
  workload_.context += 32;
  EXPECT_FALSE(Plan({})->fits);
}

TEST_F(SearchTest, SaysWhatLacksWhereNothingFits) {
  Open("llama3-tiny-bf16");
  config_.mutable_device()->set_memory_gb(0.0001);
  const auto result = Search();
  ASSERT_OK(result);
  EXPECT_FALSE(result->recommended.plan.has_value());
  EXPECT_THAT(result->recommended.why, testing::AllOf(HasSubstr("lacks"), HasSubstr("rank")));
}

TEST_F(SearchTest, PriceIsOfTheDevicesThatAreUsed) {
  Open("llama3-tiny-bf16");
  const auto plan = Plan({.tp = 2});
  ASSERT_OK(plan);
  EXPECT_NEAR(plan->price_per_million, 2.0 / 3600 * plan->decode.total() * 1e6, 1e-9);
  EXPECT_EQ(plan->groups, 4);
}

TEST_F(SearchTest, TheTableFitsATerminal) {
  Open("llama4-maverick-tiny");
  const auto result = Search();
  ASSERT_OK(result);
  const ClusterFile cluster{config_, {}};
  const std::string text = PlanText({*model_, cluster, workload_, *result}, 5);
  const size_t table = text.find("pp x ep x tp");
  ASSERT_NE(table, std::string::npos);
  for (size_t begin = table; begin < text.find("recommended:");) {
    const size_t end = text.find('\n', begin);
    EXPECT_LE(end - begin, 102U) << text.substr(begin, end - begin);
    begin = end + 1;
  }
  EXPECT_THAT(text, HasSubstr("device.memory_bandwidth_gb_s"));
}

}  // namespace
}  // namespace trireme
