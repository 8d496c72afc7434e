#include "launcher/auth/key_quota.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "launcher/load/refusal.h"
#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

using std::chrono::seconds;
using testing::HasSubstr;

class KeyQuotaTest : public testing::Test {
 protected:
  std::shared_ptr<KeyQuota> Make(QuotaLimits limits) {
    return std::make_shared<KeyQuota>(limits, [this] { return now_; });
  }
  KeyQuota::TimePoint now_;
};

TEST_F(KeyQuotaTest, WithoutLimitsEverythingIsLetIn) {
  const auto quota = Make({});
  std::vector<std::shared_ptr<QuotaLease>> leases;
  for (int i = 0; i < 1000; ++i) {
    auto lease = quota->Enter(1'000'000, 128);
    ASSERT_OK(lease);
    leases.push_back(*std::move(lease));
  }
}

TEST_F(KeyQuotaTest, AnEmptyBucketSaysWhenThereIsMore) {
  const auto quota = Make({.tokens_per_minute = 60});
  auto first = quota->Enter(50, 1);
  ASSERT_OK(first);
  (*first)->Take(10);
  const auto refused = quota->Enter(1, 1);
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("60 tokens")));
  EXPECT_EQ(RetryAfterOf(refused.status()), seconds(1));
  now_ += seconds(1);
  EXPECT_OK(quota->Enter(1, 1));
}

TEST_F(KeyQuotaTest, ADebtIsWaitedFor) {
  const auto quota = Make({.tokens_per_minute = 60});
  auto first = quota->Enter(60, 1);
  ASSERT_OK(first);
  (*first)->Take(29);
  EXPECT_EQ(RetryAfterOf(quota->Enter(1, 1).status()), seconds(30));
  now_ += seconds(29);
  EXPECT_EQ(RetryAfterOf(quota->Enter(1, 1).status()), seconds(1));
  now_ += seconds(1);
  EXPECT_OK(quota->Enter(1, 1));
}

TEST_F(KeyQuotaTest, ARestHoldsNoMoreThanAMinute) {
  const auto quota = Make({.tokens_per_minute = 60});
  now_ += seconds(3'600);
  EXPECT_OK(quota->Enter(61, 1));
  EXPECT_EQ(RetryAfterOf(quota->Enter(1, 1).status()), seconds(2));
}

TEST_F(KeyQuotaTest, EachCompletionTakesAPlaceUntilTheLastHolderIsGone) {
  const auto quota = Make({.max_concurrent = 3});
  auto two = quota->Enter(1, 2);
  ASSERT_OK(two);
  const auto refused = quota->Enter(1, 2);
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("2 are running")));
  EXPECT_EQ(RetryAfterOf(refused.status()), seconds(1));
  EXPECT_OK(quota->Enter(1, 1)) << "its place was left at once";
  std::shared_ptr<QuotaLease> copy = *two;
  two->reset();
  EXPECT_THAT(quota->Enter(1, 2), StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("")));
  copy.reset();
  EXPECT_OK(quota->Enter(1, 3));
}

TEST_F(KeyQuotaTest, OtherLimitsHoldAtOnceAndWhatWasTakenStaysTaken) {
  const auto quota = Make({.tokens_per_minute = 600});
  auto lease = quota->Enter(600, 1);
  ASSERT_OK(lease);
  quota->SetLimits({.tokens_per_minute = 60, .max_concurrent = 1});
  EXPECT_THAT(quota->Enter(1, 1),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("time")));
  lease->reset();
  EXPECT_THAT(quota->Enter(1, 1),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("60 tokens")));
  quota->SetLimits({});
  EXPECT_OK(quota->Enter(1'000, 5));
}

}  // namespace
}  // namespace trireme
