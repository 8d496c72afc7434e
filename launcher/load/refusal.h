// A refusal that has nothing to do with what was asked: more is asked for than can be done now. It
// says why in one word (for metrics and programs) and when another attempt may help, both as
// payloads of the status, so that every door can tell its clients in its own way: gRPC as trailing
// metadata, HTTP as Retry-After.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace trireme {

enum class RefusalReason {
  kNoGroup,     // no worker group is ready
  kStopping,    // the coordinator is being stopped
  kFull,        // as many requests are here as may be
  kLongWait,    // it could not begin within limits.max_queue_ms
  kDeadline,    // it could not begin before its own deadline
  kSlowReader,  // it was accepted, but its client did not read
  kKeyLimit,    // its API key may not take more now
};
inline constexpr RefusalReason kRefusalReasons[] = {
    RefusalReason::kNoGroup,  RefusalReason::kStopping, RefusalReason::kFull,
    RefusalReason::kLongWait, RefusalReason::kDeadline, RefusalReason::kSlowReader,
    RefusalReason::kKeyLimit};

// "no_group", "long_wait", …
std::string_view NameOf(RefusalReason reason);

// `retry_after` is rounded up to whole seconds and kept between 1 s and 60 s.
absl::Status Refusal(absl::StatusCode code, RefusalReason reason, std::string_view message,
                     std::chrono::milliseconds retry_after);

// Nothing for a status that is no refusal.
std::optional<RefusalReason> ReasonOf(const absl::Status& status);
std::optional<std::chrono::seconds> RetryAfterOf(const absl::Status& status);

}  // namespace trireme
