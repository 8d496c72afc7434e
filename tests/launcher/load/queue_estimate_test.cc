#include "launcher/load/queue_estimate.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace trireme {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class QueueEstimateTest : public testing::Test {
 protected:
  // `tokens` a second, in steps of 100 ms.
  void Run(seconds duration, int64_t tokens, bool saturated = true) {
    for (auto left = milliseconds(duration); left.count() > 0; left -= milliseconds(100)) {
      now_ += milliseconds(100);
      estimate_.Advance(now_, tokens / 10, saturated);
    }
  }
  void ExpectAbout(int64_t requests, milliseconds expected) {
    const auto wait = estimate_.UntilEnded(requests);
    ASSERT_TRUE(wait.has_value());
    EXPECT_LT(std::abs((*wait - expected).count()), expected.count() / 10) << wait->count();
  }

  QueueEstimate estimate_;
  QueueEstimate::TimePoint now_{seconds(100)};
};

TEST_F(QueueEstimateTest, KnowsNothingBeforeTheSlotsWereTakenForAWhile) {
  estimate_.OnAccept(100);
  EXPECT_EQ(estimate_.UntilEnded(1), std::nullopt);
  Run(seconds(60), 10, /*saturated=*/false);
  EXPECT_EQ(estimate_.UntilEnded(1), std::nullopt);
}

TEST_F(QueueEstimateTest, GoesByWhatWasAskedForUntilARequestHasEnded) {
  estimate_.OnAccept(100);
  estimate_.Advance(now_, 0, true);
  Run(seconds(5), 200);
  ExpectAbout(10, seconds(5));
  for (int i = 0; i < 200; ++i) estimate_.OnEnd(20);
  ExpectAbout(10, seconds(1));
}

TEST_F(QueueEstimateTest, IdleTimeDoesNotMakeAGroupSlow) {
  estimate_.OnEnd(100);
  estimate_.Advance(now_, 0, true);
  Run(seconds(20), 200);
  Run(seconds(1), 0, /*saturated=*/false);
  Run(seconds(600), 10, /*saturated=*/false);
  estimate_.Advance(now_, 0, true);
  ExpectAbout(10, seconds(5));
}

TEST_F(QueueEstimateTest, FollowsAGroupThatSlowsDown) {
  estimate_.OnEnd(100);
  estimate_.Advance(now_, 0, true);
  Run(seconds(30), 1'000);
  ExpectAbout(10, seconds(1));
  Run(seconds(60), 100);
  ExpectAbout(10, seconds(10));
}

}  // namespace
}  // namespace trireme
