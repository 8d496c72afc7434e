// How a thread waits for something it can only poll: it spins while an answer is likely within
// microseconds (a decode step waits some 60 times a token), then offers its core to others, then
// naps. A nap costs up to 0.2 ms of latency when the wait has already lasted longer than that, and
// makes a long wait nearly free.
//
//   PoliteWait wait(may_spin, deadline);
//   while (!Done()) {
//     if (!wait.Pause()) return late;
//   }
#pragma once

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "runtime/base/deadline.h"

namespace trireme {

class PoliteWait {
 public:
  // may_spin: false where ranks outnumber cores; a spinning rank would keep the awaited one from
  // running.
  PoliteWait(bool may_spin, Deadline deadline) : spinning_(may_spin), deadline_(deadline) {}

  // Pauses for as long as the wait so far justifies. False once the deadline has passed.
  bool Pause() {
    ++polls_;
    if (spinning_ && polls_ % kPollsPerClockRead != 0) {
      Relax();
      return true;
    }
    const auto now = Deadline::Clock::now();
    if (!timed_) {
      timed_ = true;
      start_ = now;
    }
    if (now >= deadline_.when()) return false;
    const auto waited = now - start_;
    if (spinning_) {
      spinning_ = waited < kSpinFor;
      Relax();
    } else if (waited < kYieldFor) {
      sched_yield();
    } else {
      const auto nap = std::clamp<std::chrono::nanoseconds>(waited / 16, kShortestNap, kLongestNap);
      std::this_thread::sleep_for(std::min<std::chrono::nanoseconds>(nap, deadline_.when() - now));
    }
    return true;
  }

 private:
  static constexpr int kPollsPerClockRead = 32;
  static constexpr std::chrono::microseconds kSpinFor{80};
  static constexpr std::chrono::microseconds kYieldFor{600};
  static constexpr std::chrono::microseconds kShortestNap{20};
  static constexpr std::chrono::microseconds kLongestNap{200};

  static void Relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
  }

  bool spinning_;
  bool timed_ = false;
  unsigned polls_ = 0;
  Deadline deadline_;
  Deadline::Clock::time_point start_{};
};

}  // namespace trireme
