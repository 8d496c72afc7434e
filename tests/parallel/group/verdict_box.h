// Where a watch's callback leaves its verdicts for the test's thread.
#pragma once

#include <deque>
#include <optional>

#include "parallel/group/watch.h"
#include "runtime/base/mutex.h"

namespace trireme {

class VerdictBox {
 public:
  void Put(const Verdict& verdict) {
    const MutexLock lock(mutex_);
    verdicts_.push_back(verdict);
    changed_.NotifyAll();
  }

  // nullopt when none came in time.
  std::optional<Verdict> Take(Deadline deadline) {
    const MutexLock lock(mutex_);
    while (verdicts_.empty()) {
      if (!changed_.WaitUntil(mutex_, deadline)) break;
    }
    if (verdicts_.empty()) return std::nullopt;
    Verdict verdict = verdicts_.front();
    verdicts_.pop_front();
    return verdict;
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  std::deque<Verdict> verdicts_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace trireme
