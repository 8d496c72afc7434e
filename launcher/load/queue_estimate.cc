#include "launcher/load/queue_estimate.h"

#include <algorithm>
#include <cmath>

namespace trireme {
namespace {

// How much the latest request counts in the mean.
constexpr double kNewest = 0.05;
constexpr double kLongestMs = 1e9;

double Seconds(std::chrono::nanoseconds duration) {
  return std::chrono::duration<double>(duration).count();
}

}  // namespace

void QueueEstimate::OnAccept(int64_t max_tokens) {
  if (ended_) return;
  const auto tokens = static_cast<double>(max_tokens);
  tokens_a_request_ += (tokens_a_request_ == 0 ? 1 : kNewest) * (tokens - tokens_a_request_);
}

void QueueEstimate::Advance(TimePoint now, int64_t tokens, bool saturated) {
  if (saturated_ && now > last_) {
    const double memory = Seconds(kMemory);
    const double kept = std::exp(-Seconds(now - last_) / memory);
    seconds_ = seconds_ * kept + memory * (1 - kept);
    tokens_ *= kept;
  }
  if (saturated_) tokens_ += static_cast<double>(tokens);
  last_ = now;
  saturated_ = saturated;
}

void QueueEstimate::OnEnd(int64_t tokens) {
  const auto count = static_cast<double>(tokens);
  tokens_a_request_ += (ended_ ? kNewest : 1) * (count - tokens_a_request_);
  ended_ = true;
}

std::optional<std::chrono::milliseconds> QueueEstimate::UntilEnded(int64_t requests) const {
  if (seconds_ < Seconds(kLeast) || tokens_ <= 0) return std::nullopt;
  const double seconds =
      static_cast<double>(requests) * std::max(tokens_a_request_, 1.0) * seconds_ / tokens_;
  return std::chrono::milliseconds(static_cast<int64_t>(std::min(seconds * 1e3, kLongestMs)));
}

}  // namespace trireme
