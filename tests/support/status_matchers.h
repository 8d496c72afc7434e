// gmock matchers for absl::Status and absl::StatusOr (the distribution's abseil has none).
#pragma once

#include <gmock/gmock.h>

#include <ostream>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace trireme {

inline const absl::Status& AsStatus(const absl::Status& status) { return status; }
template <typename T>
const absl::Status& AsStatus(const absl::StatusOr<T>& result) {
  return result.status();
}

MATCHER(IsOk, "is OK") {
  *result_listener << AsStatus(arg).ToString();
  return AsStatus(arg).ok();
}

// StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("tp must divide"))
MATCHER_P2(StatusIs, code, message_matcher, "") {
  const absl::Status& status = AsStatus(arg);
  *result_listener << status.ToString();
  return status.code() == code &&
         testing::ExplainMatchResult(message_matcher, std::string(status.message()),
                                     result_listener);
}

}  // namespace trireme

#define ASSERT_OK(expression) ASSERT_THAT((expression), ::trireme::IsOk())
#define EXPECT_OK(expression) EXPECT_THAT((expression), ::trireme::IsOk())
