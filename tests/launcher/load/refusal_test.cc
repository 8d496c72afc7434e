#include "launcher/load/refusal.h"

#include <gtest/gtest.h>

namespace trireme {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

absl::Status After(milliseconds retry_after) {
  return Refusal(absl::StatusCode::kResourceExhausted, RefusalReason::kLongWait, "later",
                 retry_after);
}

TEST(RefusalTest, SaysWhyAndWhenToComeAgain) {
  for (const RefusalReason reason : kRefusalReasons) {
    const absl::Status status =
        Refusal(absl::StatusCode::kUnavailable, reason, "not now", seconds(2));
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
    EXPECT_EQ(status.message(), "not now");
    EXPECT_EQ(ReasonOf(status), reason) << NameOf(reason);
    EXPECT_EQ(RetryAfterOf(status), seconds(2));
  }
}

TEST(RefusalTest, TheTimeIsWholeSecondsWithinBounds) {
  EXPECT_EQ(RetryAfterOf(After(milliseconds(1'001))), seconds(2));
  EXPECT_EQ(RetryAfterOf(After(milliseconds(-5))), seconds(1));
  EXPECT_EQ(RetryAfterOf(After(milliseconds(1'000'000'000))), seconds(60));
}

TEST(RefusalTest, OtherErrorsAreNoRefusals) {
  EXPECT_EQ(ReasonOf(absl::UnavailableError("x")), std::nullopt);
  EXPECT_EQ(RetryAfterOf(absl::OkStatus()), std::nullopt);
}

}  // namespace
}  // namespace trireme
