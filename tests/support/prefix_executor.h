// An Executor whose next token is a hash of all tokens before it, so that a lost, repeated or
// misplaced token changes everything after. Like a real one it keeps what it has seen only in
// pages, so a plan with wrong pages shows too. With experts, it has two layers: on the second a
// token chooses the expert of its id modulo their number.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/step/executor.h"

namespace trireme {

// The token after `prefix`.
inline int32_t TokenAfter(std::span<const int32_t> prefix, int64_t vocabulary) {
  uint64_t hash = 14695981039346656037u;
  for (const int32_t token : prefix) {
    hash = (hash ^ static_cast<uint64_t>(token)) * 1099511628211u;
  }
  return static_cast<int32_t>((hash >> 20) % static_cast<uint64_t>(vocabulary));
}

// What an engine over a PrefixExecutor answers.
inline std::vector<int32_t> ExpectedCompletion(std::vector<int32_t> prompt, size_t tokens,
                                               int64_t vocabulary) {
  const size_t prompt_size = prompt.size();
  while (prompt.size() < prompt_size + tokens) prompt.push_back(TokenAfter(prompt, vocabulary));
  return {prompt.begin() + static_cast<std::ptrdiff_t>(prompt_size), prompt.end()};
}

class PrefixExecutor final : public Executor {
 public:
  // Called before each step; an error is the executor's end.
  using BeforeStep = std::function<absl::Status(uint64_t step)>;

  PrefixExecutor(
      int64_t vocabulary, int64_t pages, int64_t page_tokens,
      BeforeStep before_step = [](uint64_t) { return absl::OkStatus(); }, int64_t experts = 0)
      : experts_(experts),
        loads_(static_cast<size_t>(2 * experts)),
        vocabulary_(vocabulary),
        page_tokens_(page_tokens),
        slots_(static_cast<size_t>(pages * page_tokens), -1),
        before_step_(std::move(before_step)) {}

  absl::Status Submit(const StepPlan& plan, absl::FunctionRef<void()>) override {
    if (absl::Status status = before_step_(plan.step); !status.ok()) return status;
    StepResult result{.step = plan.step, .samples = {}, .expert_loads = {}};
    if (experts_ > 0) {
      for (const int32_t token : plan.tokens) {
        ++loads_[static_cast<size_t>(experts_ + token % experts_)];
      }
    }
    if (plan.report_loads) result.expert_loads = loads_;
    CopyPages(plan.page_copies);
    size_t sample = 0;
    for (size_t span = 0; span + 1 < plan.span_offsets.size(); ++span) {
      const auto page_begin = static_cast<size_t>(plan.page_offsets[span]);
      for (int32_t row = plan.span_offsets[span]; row < plan.span_offsets[span + 1]; ++row) {
        const auto at = [&](int64_t position) -> int32_t& {
          const int32_t page =
              plan.pages[page_begin + static_cast<size_t>(position / page_tokens_)];
          return slots_[static_cast<size_t>(page * page_tokens_ + position % page_tokens_)];
        };
        const int32_t position = plan.positions[static_cast<size_t>(row)];
        at(position) = plan.tokens[static_cast<size_t>(row)];
        std::vector<int32_t> prefix;
        for (int64_t i = 0; i <= position; ++i) prefix.push_back(at(i));
        for (; sample < plan.samples.size() && plan.samples[sample].row == row; ++sample) {
          SampledToken& token = result.samples.emplace_back();
          const int32_t target = plan.samples[sample].target;
          token.token = target >= 0 ? target : TokenAfter(prefix, vocabulary_);
          token.logprob = -static_cast<float>(position);
          for (int32_t i = 0; i < plan.samples[sample].num_logprobs; ++i) {
            token.top_tokens.push_back((token.token + i) % static_cast<int32_t>(vocabulary_));
            token.top_logprobs.push_back(token.logprob - static_cast<float>(i));
          }
        }
      }
    }
    results_.push_back(std::move(result));
    return absl::OkStatus();
  }
  absl::StatusOr<StepResult> Await(Deadline) override {
    StepResult result = std::move(results_.front());
    results_.pop_front();
    return result;
  }
  int depth() const override { return 1; }

 private:
  void CopyPages(std::span<const int32_t> pairs) {
    for (size_t i = 0; i + 1 < pairs.size(); i += 2) {
      const auto first = [&](int32_t page) {
        return slots_.begin() + static_cast<std::ptrdiff_t>(page * page_tokens_);
      };
      std::copy_n(first(pairs[i]), page_tokens_, first(pairs[i + 1]));
    }
  }

  const int64_t experts_;
  std::vector<int64_t> loads_;  // [2 layers * experts]
  const int64_t vocabulary_;
  const int64_t page_tokens_;
  std::vector<int32_t> slots_;
  const BeforeStep before_step_;
  std::deque<StepResult> results_;
};

}  // namespace trireme
