#include "launcher/supervisor/restart_policy.h"

#include <algorithm>

namespace trireme {

std::optional<std::chrono::milliseconds> RestartPolicy::OnLoss(TimePoint now) {
  while (!restarts_.empty() && now - restarts_.front() >= options_.window) restarts_.pop_front();
  if (restarts_.size() >= static_cast<size_t>(options_.max_restarts)) return std::nullopt;
  std::chrono::milliseconds pause = options_.first_pause;
  for (size_t i = 0; i < restarts_.size() && pause < options_.max_pause; ++i) pause *= 2;
  restarts_.push_back(now);
  return std::min(pause, options_.max_pause);
}

}  // namespace trireme
