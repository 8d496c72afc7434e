#include "launcher/group/available_memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/support/status_matchers.h"
#include "tests/support/temp_directory.h"

namespace trireme {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class AvailableMemoryTest : public testing::Test {
 protected:
  void Write(const std::string& path, std::string_view text) {
    std::filesystem::create_directories(
        std::filesystem::path(root_.path() + "/" + path).parent_path());
    root_.Write(path, text);
  }

  TempDirectory root_;
};

TEST_F(AvailableMemoryTest, IsTheKernelsEstimate) {
  Write("proc/meminfo", "MemTotal:       1000 kB\nMemAvailable:    600 kB\n");
  EXPECT_EQ(AvailableMemory(root_.path()), 600 * 1024);
  Write("sys/fs/cgroup/memory.max", "max\n");
  Write("sys/fs/cgroup/memory.current", "5\n");
  EXPECT_EQ(AvailableMemory(root_.path()), 600 * 1024);
}

TEST_F(AvailableMemoryTest, ControlGroupsAroundTheProcessLimitIt) {
  Write("proc/meminfo", "MemAvailable:    600 kB\n");
  Write("proc/self/cgroup", "0::/outer/inner\n");
  Write("sys/fs/cgroup/outer/memory.max", "100000\n");
  Write("sys/fs/cgroup/outer/memory.current", "70000\n");
  Write("sys/fs/cgroup/outer/memory.stat", "anon 30000\nfile 40000\n");
  Write("sys/fs/cgroup/outer/inner/memory.max", "max\n");
  EXPECT_EQ(AvailableMemory(root_.path()), 70'000);
}

TEST_F(AvailableMemoryTest, NothingToReadIsUnknown) { EXPECT_EQ(AvailableMemory(root_.path()), 0); }

TEST(HostMemory, RanksOfOneHostMustFitTogether) {
  const MemoryPlan plan{.weights = 2'000'000'000, .kv = 500'000'000, .scratch = 500'000'000};
  const std::vector<HostedNeed> needs = {
      {0, "a", 3'000'000'000}, {1, "a", 1'000'000'000}, {2, "b", 9'000'000'000}};
  EXPECT_OK(CheckHostMemory(0, plan, needs, 4'000'000'000));
  EXPECT_OK(CheckHostMemory(0, plan, needs, 0));
  EXPECT_THAT(CheckHostMemory(0, plan, needs, 3'500'000'000),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       AllOf(HasSubstr("rank 0 on host a needs 3.00 GB"),
                             HasSubstr("ranks 0 1 of that host 4.00 GB"),
                             HasSubstr("3.50 GB are available"), HasSubstr("0.50 GB are lacking"),
                             HasSubstr("--kv-positions"))));
  EXPECT_THAT(CheckHostMemory(2, plan, needs, 8'000'000'000),
              StatusIs(absl::StatusCode::kResourceExhausted, Not(HasSubstr("with ranks"))));
}

}  // namespace
}  // namespace trireme
