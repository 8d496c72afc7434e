// The distinct tokens that a sequence holds and how often its completion does, as the sampler's
// penalties want them. Kept up to date token by token, so that a step costs no more than the copy.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "runtime/step/step_plan.h"

namespace trireme {

class TokenHistory {
 public:
  void AddPrompt(int32_t token) { CountOf(token); }
  void AddCompletion(int32_t token) { ++CountOf(token); }

  // As it will be when the completion has gone on with `ahead`.
  PlanRange AppendTo(StepPlan& plan, std::span<const int32_t> ahead) const {
    const size_t first = plan.history_tokens.size();
    plan.history_tokens.insert(plan.history_tokens.end(), tokens_.begin(), tokens_.end());
    plan.history_counts.insert(plan.history_counts.end(), counts_.begin(), counts_.end());
    for (const int32_t token : ahead) {
      const auto begin = plan.history_tokens.begin() + static_cast<std::ptrdiff_t>(first);
      const auto place = std::find(begin, plan.history_tokens.end(), token);
      const auto at = static_cast<size_t>(place - plan.history_tokens.begin());
      if (place == plan.history_tokens.end()) {
        plan.history_tokens.push_back(token);
        plan.history_counts.push_back(0);
      }
      ++plan.history_counts[at];
    }
    return {static_cast<int32_t>(first), static_cast<int32_t>(plan.history_tokens.size() - first)};
  }

 private:
  int32_t& CountOf(int32_t token) {
    const auto [place, added] = places_.emplace(token, tokens_.size());
    if (added) {
      tokens_.push_back(token);
      counts_.push_back(0);
    }
    return counts_[place->second];
  }

  std::unordered_map<int32_t, size_t> places_;  // token -> where it stands in the two below
  std::vector<int32_t> tokens_;
  std::vector<int32_t> counts_;
};

}  // namespace trireme
