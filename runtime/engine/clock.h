// Time as a value that tests can give.
#pragma once

#include <chrono>
#include <cstdint>

namespace trireme {

class Clock {
 public:
  virtual ~Clock() = default;
  // Never goes back; what it counts from is not said.
  virtual int64_t NowMs() const = 0;
};

// The machine's monotonic clock, as Deadline's.
class SteadyClock final : public Clock {
 public:
  int64_t NowMs() const override {
    return std::chrono::duration_cast<std::chrono::milliseconds>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
  }
};

}  // namespace trireme
