// Guesses at what comes next in a text from the text itself: where its last few tokens stood
// before, what followed them then may follow again (quotations, code, JSON). It costs no model; a
// wrong guess costs the rows that checked it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

namespace trireme {

class PromptLookup {
 public:
  // Up to `count` tokens that may follow `tokens`. Calls must be of one text that only grows.
  std::vector<int32_t> Draft(std::span<const int32_t> tokens, int64_t count) {
    Learn(tokens);
    if (tokens.size() <= kKey || count <= 0) return {};
    const auto found = after_.find(HashOf(tokens.last(kKey)));
    if (found == after_.end()) return {};
    const size_t from = found->second;
    // Another key may have the same hash.
    const std::span<const int32_t> before = tokens.subspan(from - kKey, kKey);
    for (size_t i = 0; i < kKey; ++i) {
      if (before[i] != tokens[tokens.size() - kKey + i]) return {};
    }
    std::vector<int32_t> draft;
    // A period shorter than the draft goes on into the draft itself.
    for (size_t i = from; static_cast<int64_t>(draft.size()) < count; ++i) {
      draft.push_back(i < tokens.size() ? tokens[i] : draft[i - tokens.size()]);
    }
    return draft;
  }

 private:
  static constexpr size_t kKey = 3;

  static uint64_t HashOf(std::span<const int32_t> key) {
    uint64_t hash = 14695981039346656037u;
    for (const int32_t token : key) hash = (hash ^ static_cast<uint32_t>(token)) * 1099511628211u;
    return hash;
  }

  // The latest place wins: nearer text is more alike.
  void Learn(std::span<const int32_t> tokens) {
    for (learned_ = learned_ < kKey ? kKey : learned_; learned_ < tokens.size(); ++learned_) {
      after_[HashOf(tokens.subspan(learned_ - kKey, kKey))] = learned_;
    }
  }

  std::unordered_map<uint64_t, size_t> after_;  // key -> the position behind its latest place
  size_t learned_ = 0;                          // positions before are in after_
};

}  // namespace trireme
