// A point on the monotonic clock by which a wait must end. Every wait in Trireme takes one.
#pragma once

#include <chrono>
#include <cstdint>

namespace trireme {

class Deadline {
 public:
  using Clock = std::chrono::steady_clock;

  static Deadline After(std::chrono::nanoseconds duration) {
    return Deadline(Clock::now() + duration);
  }
  static Deadline AfterMs(int64_t milliseconds) {
    return After(std::chrono::milliseconds(milliseconds));
  }
  // For the few waits that a person ends (an idle server): still a value, so it shows in the code.
  static Deadline Never() { return Deadline(Clock::time_point::max()); }

  bool never() const { return when_ == Clock::time_point::max(); }
  bool Passed() const { return Clock::now() >= when_; }
  // Zero once passed.
  std::chrono::nanoseconds Left() const {
    const auto now = Clock::now();
    return now >= when_ ? std::chrono::nanoseconds(0) : when_ - now;
  }
  Clock::time_point when() const { return when_; }

 private:
  explicit Deadline(Clock::time_point when) : when_(when) {}
  Clock::time_point when_;
};

// Now on the same clock: what records of different parts are put in order by.
inline int64_t MonotonicNs() {
  const auto now = Deadline::Clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
}

}  // namespace trireme
