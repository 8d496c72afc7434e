#include "launcher/planner/cluster.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/support/status_matchers.h"
#include "tests/support/temp_directory.h"

namespace trireme {
namespace {

using testing::AllOf;
using testing::HasSubstr;
constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

constexpr char kSmall[] =
    "name: small\n"
    "devices_per_node: 2\n"
    "device:\n"
    "  memory_gb: 10\n"
    "  memory_bandwidth_gb_s: 100\n"
    "  memory_efficiency: 0.5\n"
    "  rates:\n"
    "    - {dtype: BF16, tflops: 10}\n"
    "    - {dtype: Q4_1, tflops: 5, read_gb_s: 20}\n"
    "node_link: {latency_us: 2, bandwidth_gb_s: 50}\n";

class ClusterTest : public testing::Test {
 protected:
  absl::StatusOr<ClusterFile> Load(const std::string& text) {
    path_ = directory_.Write("cluster.yaml", text);
    return LoadClusterConfig(path_);
  }

  TempDirectory directory_;
  std::string path_;
};

TEST_F(ClusterTest, TheExamplesInTheTreeLoad) {
  int found = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(TRIREME_SOURCE_DIR "/configs/clusters")) {
    ++found;
    EXPECT_OK(LoadClusterConfig(entry.path().string())) << entry.path();
  }
  EXPECT_GE(found, 4);
}

TEST_F(ClusterTest, ConstantsAreInSecondsAndBytes) {
  const auto loaded = Load(kSmall);
  ASSERT_OK(loaded);
  const Cluster cluster(loaded->config);
  EXPECT_EQ(cluster.devices(), 2);
  EXPECT_DOUBLE_EQ(cluster.RateOf({DType::kQ4_1}).read_bytes_per_s, 20e9);
  // A dtype without its own rate takes the first; without a read rate, the memory's.
  EXPECT_DOUBLE_EQ(cluster.RateOf({DType::kF16}).read_bytes_per_s, 50e9);
  EXPECT_DOUBLE_EQ(cluster.RateOf({DType::kBF16}).flops_per_s, 10e12 * 0.6);
  EXPECT_DOUBLE_EQ(cluster.node_link.Seconds(50e9), 1 + 2e-6);
}

TEST_F(ClusterTest, RatesAreOfAFormAndOfHowManyReadAtOnce) {
  const auto loaded = Load(
      "name: shared\n"
      "devices_per_node: 4\n"
      "device:\n"
      "  memory_bandwidth_gb_s: 20\n"
      "  rates:\n"
      "    - {dtype: Q4_1, tflops: 5, read_gb_s: 10}\n"
      "    - {dtype: BF16, tflops: 10, read_gb_s: 16, shared_read_gb_s: 9}\n"
      "    - {dtype: BF16, input_major: true, tflops: 10, read_gb_s: 14}\n"
      "shared: {memory_gb: 8, memory_bandwidth_gb_s: 32}\n"
      "node_link: {latency_us: 2, bandwidth_gb_s: 50}\n");
  ASSERT_OK(loaded);
  const Cluster cluster(loaded->config);
  const auto read = [&](const MatrixForm& form, int running) {
    return cluster.RateOf(form, running).read_bytes_per_s;
  };
  EXPECT_DOUBLE_EQ(read({DType::kBF16}, 1), 16e9);
  EXPECT_DOUBLE_EQ(read({DType::kBF16, true}, 1), 14e9);
  // No rate for the form: that of the dtype; none of the dtype either: the first.
  EXPECT_DOUBLE_EQ(read({DType::kQ4_1, true}, 1), 10e9);
  EXPECT_DOUBLE_EQ(read({DType::kF32, true}, 1), 10e9);
  // What was measured with all devices at once goes before the node's limit.
  EXPECT_DOUBLE_EQ(read({DType::kBF16}, 2), 16e9);
  EXPECT_DOUBLE_EQ(read({DType::kBF16}, 4), 9e9);
  EXPECT_DOUBLE_EQ(read({DType::kBF16, true}, 4), 8e9);
}

TEST_F(ClusterTest, EveryConstantSaysWhereItCameFrom) {
  auto loaded = Load(kSmall);
  ASSERT_OK(loaded);
  SetMeasured("overhead.verb_us", 0.25, *loaded);
  std::map<std::string, std::string> sources;
  for (const ClusterConstant& constant : ConstantsOf(*loaded)) {
    sources[constant.name] = constant.source;
  }
  EXPECT_EQ(sources["device.memory_gb"], path_ + ":4");
  EXPECT_EQ(sources["device.rates[1].read_gb_s"], path_ + ":9");
  EXPECT_EQ(sources["device.matmul_efficiency"], "assumption");
  EXPECT_EQ(sources["overhead.verb_us"], "measured");
}

TEST_F(ClusterTest, SavedConstantsLoadAgain) {
  ClusterFile machine = ThisMachine(2);
  SetMeasured("node_link.latency_us", 3.5, machine);
  const auto again = Load(ClusterYaml(machine));
  ASSERT_OK(again);
  EXPECT_DOUBLE_EQ(again->config.node_link().latency_us(), 3.5);
  EXPECT_EQ(again->config.devices_per_node(), machine.config.devices_per_node());
}

TEST_F(ClusterTest, RefusesWhatItCannotUse) {
  const std::string text = kSmall;
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string changed = text;
    changed.replace(changed.find(from), from.size(), to);
    return changed;
  };
  EXPECT_THAT(Load(text + "speed: 3\n"),
              StatusIs(kInvalid, AllOf(HasSubstr(":11: "), HasSubstr("unknown key 'speed'"))));
  EXPECT_THAT(Load(with("BF16", "BF17")),
              StatusIs(kInvalid, AllOf(HasSubstr(":8: "), HasSubstr("'BF17'"))));
  EXPECT_THAT(Load(with("memory_efficiency: 0.5", "memory_efficiency: 1.5")),
              StatusIs(kInvalid, HasSubstr("a number from 0.01 to 1; got '1.5'")));
  EXPECT_THAT(Load(with("memory_gb: 10", "memory_gb: nan")), StatusIs(kInvalid, HasSubstr("nan")));
  EXPECT_THAT(Load(with("  memory_gb: 10\n", "")), StatusIs(kInvalid, HasSubstr("memory_gb")));
  EXPECT_THAT(Load(with("node_link: {latency_us: 2, bandwidth_gb_s: 50}\n", "")),
              StatusIs(kInvalid, HasSubstr("node_link")));
  EXPECT_THAT(Load(text + "nodes: 2\n"), StatusIs(kInvalid, HasSubstr("network")));
  EXPECT_THAT(Load("name: x\ndevices_per_node: 1\n"),
              StatusIs(kInvalid, HasSubstr("device.memory_bandwidth_gb_s")));
  EXPECT_THAT(LoadClusterConfig("/nowhere.yaml"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/nowhere.yaml")));
}

}  // namespace
}  // namespace trireme
