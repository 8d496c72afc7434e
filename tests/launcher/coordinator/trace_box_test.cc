#include "launcher/coordinator/trace_box.h"

#include <gmock/gmock.h>

#include <string>
#include <thread>

#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

using testing::HasSubstr;

TEST(TraceBox, GivesTheAnswerToWhoeverAsked) {
  TraceBox box;
  const auto first = box.Open();
  const auto second = box.Open();
  ASSERT_OK(first);
  ASSERT_OK(second);
  const std::jthread group([&] {
    box.Put(*second, "two");
    box.Put(*first, "one");
    box.Put(999, "nobody asked");
  });
  EXPECT_EQ(*box.Take(*first, Deadline::AfterMs(10'000)), "one");
  EXPECT_EQ(*box.Take(*second, Deadline::AfterMs(10'000)), "two");
}

TEST(TraceBox, WaitsNoLongerThanItMay) {
  TraceBox box;
  const auto number = box.Open();
  ASSERT_OK(number);
  EXPECT_THAT(box.Take(*number, Deadline::AfterMs(20)),
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("did not send its trace")));
  box.Put(*number, "too late");
}

TEST(TraceBox, RefusesMoreThanAFewAtOnceAndWhatIsTooLong) {
  TraceBox box;
  uint64_t last = 0;
  for (size_t i = 0; i < TraceBox::kMostWaiting; ++i) last = *box.Open();
  EXPECT_THAT(box.Open(), StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("try again")));
  box.Put(last, std::string(TraceBox::kMostBytes + 1, 'x'));
  EXPECT_THAT(box.Take(last, Deadline::AfterMs(0)),
              StatusIs(absl::StatusCode::kDeadlineExceeded, testing::_));
  EXPECT_OK(box.Open());
}

}  // namespace
}  // namespace trireme
