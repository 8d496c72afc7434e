#include "launcher/supervisor/local.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/status_matchers.h"
#include "tests/support/temp_directory.h"

namespace trireme {
namespace {

using testing::HasSubstr;

// The word after a flag, or nothing.
std::string After(const std::vector<std::string>& argv, const std::string& flag) {
  const auto at = std::ranges::find(argv, flag);
  return at == argv.end() || at + 1 == argv.end() ? "" : *(at + 1);
}

TEST(LocalTest, AGroupsRanksAreTheProductOfItsAxes) {
  v1::GroupConfig group;
  EXPECT_THAT(RanksOf(group, "/nowhere"), testing::Eq(absl::StatusOr<int>(1)));
  group.set_tp(2);
  group.set_pp(3);
  EXPECT_EQ(*RanksOf(group, "/nowhere"), 6);
  group.set_ep(1024);
  group.set_tp(1024);
  EXPECT_THAT(RanksOf(group, "/nowhere"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("ranks")));
}

TEST(LocalTest, ADamagedManifestIsAnErrorAndNotOneRank) {
  const TempDirectory directory;
  directory.Write("manifest.json", "{");
  EXPECT_FALSE(RanksOf(v1::GroupConfig(), directory.path()).ok());
}

TEST(LocalTest, WorkersGetWhatTheConfigurationSays) {
  v1::ServeConfig config;
  config.set_model("shards");
  config.set_model_name("small");
  v1::GroupConfig group;
  group.set_name("a");
  group.set_tp(2);
  group.set_compute("fp32");
  group.set_max_step_tokens(64);
  group.set_speculate(4);
  group.set_isolate_tenants(true);
  group.set_kv_dtype("q8_0");
  group.add_mpirun_flags("--host");
  group.add_mpirun_flags("x:2");
  group.add_worker_flags("--verify");
  const ProcessSpec spec = GroupProcess("/bin/trireme", config, group, "127.0.0.1:1", 2);
  EXPECT_EQ(spec.argv[0], "mpirun");
  EXPECT_EQ(After(spec.argv, "-n"), "2");
  EXPECT_EQ(After(spec.argv, "odls_base_sigkill_timeout"), "0");
  EXPECT_EQ(After(spec.argv, "--host"), "x:2");
  EXPECT_EQ(After(spec.argv, "/bin/trireme"), "worker");
  EXPECT_EQ(After(spec.argv, "--coordinator"), "127.0.0.1:1");
  EXPECT_EQ(After(spec.argv, "--group"), "a");
  EXPECT_EQ(After(spec.argv, "--model"), "shards");
  EXPECT_EQ(After(spec.argv, "--model-name"), "small");
  EXPECT_EQ(After(spec.argv, "--tp"), "2");
  EXPECT_EQ(After(spec.argv, "--compute"), "fp32");
  EXPECT_EQ(After(spec.argv, "--max-step-tokens"), "64");
  EXPECT_EQ(After(spec.argv, "--speculate"), "4");
  EXPECT_EQ(std::ranges::count(spec.argv, "--isolate-tenants"), 1);
  EXPECT_EQ(std::ranges::count(spec.argv, "--no-prefix-cache"), 1);
  group.set_prefix_cache(true);
  const ProcessSpec caching = GroupProcess("/bin/trireme", config, group, "127.0.0.1:1", 2);
  EXPECT_EQ(std::ranges::count(caching.argv, "--no-prefix-cache"), 0);
  EXPECT_EQ(After(spec.argv, "--kv-dtype"), "q8_0");
  EXPECT_EQ(spec.argv.back(), "--verify");
  // Left to the worker.
  EXPECT_EQ(std::ranges::count(spec.argv, "--pp"), 0);
  EXPECT_EQ(std::ranges::count(spec.argv, "--threads"), 0);
  group.set_kv_dtype("auto");
  EXPECT_EQ(std::ranges::count(GroupProcess("/bin/trireme", config, group, "127.0.0.1:1", 2).argv,
                               "--kv-dtype"),
            0);
}

TEST(LocalTest, TheCoordinatorReportsThroughThePipe) {
  v1::ServeConfig config;
  config.set_model("m");
  config.set_listen("127.0.0.1:0");
  const ProcessSpec spec = CoordinatorProcess("/bin/trireme", config);
  EXPECT_TRUE(spec.status_pipe);
  EXPECT_EQ(After(spec.argv, "--status-fd"), std::to_string(kStatusFd));
  EXPECT_EQ(After(spec.argv, "--listen"), "127.0.0.1:0");
  EXPECT_EQ(std::ranges::count(spec.argv, "--insecure"), 0);
}

}  // namespace
}  // namespace trireme
