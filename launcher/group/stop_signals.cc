#include "launcher/group/stop_signals.h"

#include <pthread.h>
#include <unistd.h>

#include <ctime>

namespace trireme {

StopSignals::StopSignals() {
  sigemptyset(&signals_);
  sigaddset(&signals_, SIGTERM);
  sigaddset(&signals_, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
  waiter_ = std::jthread([this](const std::stop_token& ended) {
    pthread_setname_np(pthread_self(), "signals");
    Wait(ended);
  });
}

StopSignals::~StopSignals() {
  waiter_.request_stop();
  waiter_.join();
  pthread_sigmask(SIG_UNBLOCK, &signals_, nullptr);
}

void StopSignals::Wait(const std::stop_token& ended) {
  constexpr timespec kLook{.tv_sec = 0, .tv_nsec = 100'000'000};
  while (!ended.stop_requested()) {
    const int signal = sigtimedwait(&signals_, nullptr, &kLook);
    if (signal < 0) continue;
    if (stop_.stop_requested()) _exit(128 + signal);
    stop_.request_stop();
  }
}

}  // namespace trireme
