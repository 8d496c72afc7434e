#include "launcher/supervisor/restart_policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace trireme {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::Optional;

constexpr RestartOptions kOptions{.max_restarts = 5,
                                  .window = seconds(600),
                                  .first_pause = milliseconds(250),
                                  .max_pause = milliseconds(1'500)};
const RestartPolicy::TimePoint kStart{seconds(1'000)};

TEST(RestartPolicyTest, PausesDoubleUpToTheLongest) {
  RestartPolicy policy(kOptions);
  std::vector<int64_t> pauses;
  for (int i = 0; i < 5; ++i) pauses.push_back(policy.OnLoss(kStart + seconds(i))->count());
  EXPECT_THAT(pauses, ElementsAre(250, 500, 1'000, 1'500, 1'500));
}

TEST(RestartPolicyTest, GivesUpAfterTooManyLossesInTheWindow) {
  RestartPolicy policy(kOptions);
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(policy.OnLoss(kStart + seconds(i)).has_value());
  EXPECT_FALSE(policy.OnLoss(kStart + seconds(599)).has_value());
}

TEST(RestartPolicyTest, LossesBeforeTheWindowAreForgotten) {
  RestartPolicy policy(kOptions);
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(policy.OnLoss(kStart + seconds(i)).has_value());
  EXPECT_THAT(policy.OnLoss(kStart + seconds(700)), Optional(milliseconds(250)));
}

TEST(RestartPolicyTest, NoRestartsMeansNone) {
  RestartOptions options = kOptions;
  options.max_restarts = 0;
  EXPECT_FALSE(RestartPolicy(options).OnLoss(kStart).has_value());
}

}  // namespace
}  // namespace trireme
