// When a lost group is started again: after a pause that doubles with each loss in the window, and
// not at all once it was lost too often. A value without a clock: time is passed in.
#pragma once

#include <chrono>
#include <deque>
#include <optional>

#include "runtime/base/deadline.h"

namespace trireme {

struct RestartOptions {
  int max_restarts = 5;  // in one window
  std::chrono::milliseconds window{600'000};
  std::chrono::milliseconds first_pause{250};
  std::chrono::milliseconds max_pause{30'000};
};

class RestartPolicy {
 public:
  using TimePoint = Deadline::Clock::time_point;

  explicit RestartPolicy(const RestartOptions& options) : options_(options) {}

  // To be called once a loss: how long to wait before the next start, or nothing: give up.
  std::optional<std::chrono::milliseconds> OnLoss(TimePoint now);

 private:
  const RestartOptions options_;
  std::deque<TimePoint> restarts_;  // of the window
};

}  // namespace trireme
