// What a key may take: tokens a minute, and completions at a time.
//
// Tokens are a bucket that fills at the rate and holds one minute's worth. A call is let in while
// the bucket is not empty; its prompt is taken at once and each token of its completions as it is
// made, so that a long answer may leave a debt, which later calls wait for. Time is the monotonic
// clock's: setting the wall clock gives and takes nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/base/deadline.h"
#include "runtime/base/mutex.h"

namespace trireme {

struct QuotaLimits {
  int64_t tokens_per_minute = 0;  // 0: no limit
  int64_t max_concurrent = 0;     // completions; 0: no limit
};

class QuotaLease;

class KeyQuota : public std::enable_shared_from_this<KeyQuota> {
 public:
  using TimePoint = Deadline::Clock::time_point;

  KeyQuota(QuotaLimits limits, std::function<TimePoint()> now);

  // What was taken so far stays taken.
  void SetLimits(QuotaLimits limits) ABSL_LOCKS_EXCLUDED(mutex_);

  // RESOURCE_EXHAUSTED, with the seconds after which to try again (load/refusal.h).
  absl::StatusOr<std::shared_ptr<QuotaLease>> Enter(int64_t prompt_tokens, int32_t completions)
      ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  friend class QuotaLease;
  void Take(int64_t tokens) ABSL_LOCKS_EXCLUDED(mutex_);
  void Leave(int32_t completions) ABSL_LOCKS_EXCLUDED(mutex_);
  void Fill() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::function<TimePoint()> now_;
  Mutex mutex_;
  QuotaLimits limits_ ABSL_GUARDED_BY(mutex_);
  double level_ ABSL_GUARDED_BY(mutex_) = 0;  // tokens; negative: a debt
  TimePoint filled_ ABSL_GUARDED_BY(mutex_);
  int64_t running_ ABSL_GUARDED_BY(mutex_) = 0;
};

// A call's place; left when the last who holds it is gone.
class QuotaLease {
 public:
  QuotaLease(std::shared_ptr<KeyQuota> quota, int32_t completions)
      : quota_(std::move(quota)), completions_(completions) {}
  QuotaLease(const QuotaLease&) = delete;
  QuotaLease& operator=(const QuotaLease&) = delete;
  ~QuotaLease() { quota_->Leave(completions_); }

  void Take(int64_t tokens) { quota_->Take(tokens); }

 private:
  const std::shared_ptr<KeyQuota> quota_;
  const int32_t completions_;
};

}  // namespace trireme
