#include "launcher/load/refusal.h"

#include <algorithm>
#include <charconv>

#include "absl/strings/cord.h"

namespace trireme {
namespace {

constexpr char kReasonPayload[] = "trireme.v1/refusal-reason";
constexpr char kRetryPayload[] = "trireme.v1/retry-after-s";

}  // namespace

std::string_view NameOf(RefusalReason reason) {
  switch (reason) {
    case RefusalReason::kNoGroup:
      return "no_group";
    case RefusalReason::kStopping:
      return "stopping";
    case RefusalReason::kFull:
      return "full";
    case RefusalReason::kLongWait:
      return "long_wait";
    case RefusalReason::kDeadline:
      return "deadline";
    case RefusalReason::kSlowReader:
      return "slow_reader";
    case RefusalReason::kKeyLimit:
      return "key_limit";
  }
  return "";
}

absl::Status Refusal(absl::StatusCode code, RefusalReason reason, std::string_view message,
                     std::chrono::milliseconds retry_after) {
  absl::Status status(code, {message.data(), message.size()});
  const auto seconds = std::clamp(std::chrono::ceil<std::chrono::seconds>(retry_after),
                                  std::chrono::seconds(1), std::chrono::seconds(60));
  status.SetPayload(kReasonPayload, absl::Cord(std::string(NameOf(reason))));
  status.SetPayload(kRetryPayload, absl::Cord(std::to_string(seconds.count())));
  return status;
}

std::optional<RefusalReason> ReasonOf(const absl::Status& status) {
  const auto payload = status.GetPayload(kReasonPayload);
  if (!payload.has_value()) return std::nullopt;
  for (const RefusalReason reason : kRefusalReasons) {
    if (NameOf(reason) == std::string(*payload)) return reason;
  }
  return std::nullopt;
}

std::optional<std::chrono::seconds> RetryAfterOf(const absl::Status& status) {
  const auto payload = status.GetPayload(kRetryPayload);
  if (!payload.has_value()) return std::nullopt;
  const std::string text(*payload);
  int64_t seconds = 0;
  std::from_chars(text.data(), text.data() + text.size(), seconds);
  return std::chrono::seconds(seconds);
}

}  // namespace trireme
