#include "launcher/auth/key_quota.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_format.h"
#include "launcher/load/refusal.h"

namespace trireme {
namespace {

// A place may be free by then; nobody knows how long the others run.
constexpr std::chrono::milliseconds kRetryWhenFull{1'000};
constexpr double kSecondsPerMinute = 60;

}  // namespace

KeyQuota::KeyQuota(QuotaLimits limits, std::function<TimePoint()> now)
    : now_(std::move(now)),
      limits_(limits),
      level_(static_cast<double>(limits.tokens_per_minute)),
      filled_(now_()) {}

void KeyQuota::SetLimits(QuotaLimits limits) {
  MutexLock lock(mutex_);
  Fill();
  if (limits_.tokens_per_minute == 0) level_ = static_cast<double>(limits.tokens_per_minute);
  limits_ = limits;
  level_ = std::min(level_, static_cast<double>(limits_.tokens_per_minute));
}

void KeyQuota::Fill() {
  const TimePoint now = now_();
  const double seconds = std::chrono::duration<double>(now - filled_).count();
  const auto most = static_cast<double>(limits_.tokens_per_minute);
  level_ = std::min(most, level_ + seconds * most / kSecondsPerMinute);
  filled_ = now;
}

absl::StatusOr<std::shared_ptr<QuotaLease>> KeyQuota::Enter(int64_t prompt_tokens,
                                                            int32_t completions) {
  MutexLock lock(mutex_);
  if (limits_.max_concurrent > 0 && running_ + completions > limits_.max_concurrent) {
    return Refusal(absl::StatusCode::kResourceExhausted, RefusalReason::kKeyLimit,
                   absl::StrFormat("this key may have %d completions at a time, and %d are "
                                   "running; try again later",
                                   limits_.max_concurrent, running_),
                   kRetryWhenFull);
  }
  Fill();
  if (limits_.tokens_per_minute > 0) {
    if (level_ < 1) {
      const double rate = static_cast<double>(limits_.tokens_per_minute) / kSecondsPerMinute;
      const std::chrono::duration<double> wait((1 - level_) / rate);
      return Refusal(
          absl::StatusCode::kResourceExhausted, RefusalReason::kKeyLimit,
          absl::StrFormat("this key may take %d tokens a minute, and has taken them; try again "
                          "in %.0f s",
                          limits_.tokens_per_minute, std::ceil(wait.count())),
          std::chrono::ceil<std::chrono::milliseconds>(wait));
    }
    level_ -= static_cast<double>(prompt_tokens);
  }
  running_ += completions;
  return std::make_shared<QuotaLease>(shared_from_this(), completions);
}

void KeyQuota::Take(int64_t tokens) {
  MutexLock lock(mutex_);
  if (limits_.tokens_per_minute > 0) level_ -= static_cast<double>(tokens);
}

void KeyQuota::Leave(int32_t completions) {
  MutexLock lock(mutex_);
  running_ -= completions;
}

}  // namespace trireme
