// SIGTERM and SIGINT as a stop request: for commands that end cleanly when asked to. Made by main's
// thread before any other thread starts, because it blocks the two signals for all of them; a
// second signal ends the process at once.
#pragma once

#include <csignal>
#include <stop_token>
#include <thread>

namespace trireme {

class StopSignals {
 public:
  StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;
  ~StopSignals();

  std::stop_token token() const { return stop_.get_token(); }

 private:
  void Wait(const std::stop_token& ended);

  sigset_t signals_{};
  std::stop_source stop_;
  std::jthread waiter_;  // thread "signals"
};

}  // namespace trireme
