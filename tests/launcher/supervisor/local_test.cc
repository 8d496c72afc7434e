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
  EXPECT_EQ(std::ranges::count(spec.argv, "--keys-file"), 0);
}

TEST(LocalTest, CoordinatorAndGroupsAreToldWhereSecretsAre) {
  v1::ServeConfig config;
  config.mutable_auth()->set_keys_file("keys.json");
  config.mutable_auth()->set_join_token_file("/run/token");
  const ProcessSpec coordinator = CoordinatorProcess("/bin/trireme", config);
  EXPECT_EQ(After(coordinator.argv, "--keys-file"), "keys.json");
  EXPECT_EQ(After(coordinator.argv, "--join-token-file"), "/run/token");
  const ProcessSpec group = GroupProcess("/bin/trireme", config, v1::GroupConfig(), "h:1", 1);
  EXPECT_EQ(After(group.argv, "--join-token-file"), "/run/token");
  EXPECT_EQ(std::ranges::count(group.argv, "--keys-file"), 0);
}

TEST(LocalTest, BothEndsOfTheLinkLearnOfTls) {
  v1::ServeConfig config;
  const v1::GroupConfig group;
  EXPECT_EQ(
      std::ranges::count(CoordinatorProcess("/bin/trireme", config).argv, "--tls-certificate"), 0);
  config.mutable_tls()->set_certificate("server.pem");
  config.mutable_tls()->set_key("server.key");
  config.mutable_tls()->set_client_ca("clients.pem");
  config.mutable_link_tls()->set_ca("ca.pem");
  config.mutable_link_tls()->set_certificate("group.pem");
  config.mutable_link_tls()->set_key("group.key");
  config.mutable_link_tls()->set_server_name("head");
  const auto coordinator = CoordinatorProcess("/bin/trireme", config).argv;
  EXPECT_EQ(After(coordinator, "--tls-certificate"), "server.pem");
  EXPECT_EQ(After(coordinator, "--tls-key"), "server.key");
  EXPECT_EQ(After(coordinator, "--tls-client-ca"), "clients.pem");
  const auto worker = GroupProcess("/bin/trireme", config, group, "127.0.0.1:1", 2).argv;
  EXPECT_EQ(After(worker, "--tls-ca"), "ca.pem");
  EXPECT_EQ(After(worker, "--tls-certificate"), "group.pem");
  EXPECT_EQ(After(worker, "--tls-key"), "group.key");
  EXPECT_EQ(After(worker, "--tls-server-name"), "head");
}

TEST(LocalTest, TheCoordinatorLearnsWhatToRecord) {
  v1::ServeConfig config;
  EXPECT_EQ(std::ranges::count(CoordinatorProcess("/bin/trireme", config).argv, "--audit-log"), 0);
  config.mutable_audit()->set_file("audit.log");
  config.mutable_audit()->set_fsync("always");
  config.mutable_audit()->set_required(true);
  const auto argv = CoordinatorProcess("/bin/trireme", config).argv;
  EXPECT_EQ(After(argv, "--audit-log"), "audit.log");
  EXPECT_EQ(After(argv, "--audit-fsync"), "always");
  EXPECT_EQ(std::ranges::count(argv, "--audit-required"), 1);
}

}  // namespace
}  // namespace trireme
