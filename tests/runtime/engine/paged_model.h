// A model of what plans do to pages. Its next token is a pure function of the tokens before, and it
// keeps in every slot of a page whose key would be there: token, position and a hash of all tokens
// up to it. So a plan that names a wrong page, writes one that others read, or comes out of order
// is found where a span would read wrong keys.
#pragma once

#include <algorithm>
#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "runtime/engine/scheduler.h"
#include "runtime/step/step_plan.h"

namespace trireme {

class PagedModel {
 public:
  // The next token depends on the last `memory` tokens only: 0 for all of them.
  PagedModel(const SchedulerLimits& limits, int32_t vocabulary, size_t memory)
      : limits_(limits),
        vocabulary_(vocabulary),
        memory_(memory),
        slots_(static_cast<size_t>(limits.pages * limits.page_tokens)),
        chunk_slots_(static_cast<size_t>(limits.chunk_pages * limits.page_tokens)) {}

  int32_t TokenAfter(std::span<const int32_t> tokens) const {
    if (memory_ > 0 && tokens.size() > memory_) tokens = tokens.last(memory_);
    uint64_t hash = 14695981039346656037u;
    for (const int32_t token : tokens) hash = Chain(hash, token);
    return static_cast<int32_t>((hash >> 20) % static_cast<uint64_t>(vocabulary_));
  }

  std::vector<int32_t> Completion(const Request& request) const {
    std::vector<int32_t> tokens = request.prompt;
    std::vector<int32_t> completion;
    const auto& stops = request.stop_tokens;
    while (static_cast<int64_t>(completion.size()) < request.max_tokens) {
      completion.push_back(TokenAfter(tokens));
      tokens.push_back(completion.back());
      if (std::find(stops.begin(), stops.end(), completion.back()) != stops.end()) break;
    }
    return completion;
  }

  // Runs the plan. What is wrong with it; "" when nothing is.
  std::string Run(const StepPlan& plan, StepResult& result) {
    result = {.step = plan.step, .samples = {}, .expert_loads = {}};
    if (static_cast<int64_t>(plan.tokens.size()) > limits_.max_step_tokens ||
        static_cast<int64_t>(plan.span_offsets.size()) - 1 > limits_.max_sequences) {
      return "INV-SCHED-2: too large";
    }
    std::string wrong = Copy(plan.page_copies, slots_);
    if (wrong.empty()) wrong = Copy(plan.chunk_page_copies, chunk_slots_);
    if (wrong.empty()) wrong = CheckWrites(plan);
    size_t sample = 0;
    for (size_t span = 0; wrong.empty() && span + 1 < plan.span_offsets.size(); ++span) {
      wrong = RunSpan(plan, span, sample, result);
    }
    if (wrong.empty() && sample != plan.samples.size())
      wrong = "samples of rows that are not there";
    return wrong;
  }

 private:
  struct Slot {
    int32_t token = -1;
    int32_t position = -1;
    uint64_t prefix = 0;
  };
  using Slots = std::vector<Slot>;

  static uint64_t Chain(uint64_t hash, int32_t token) {
    return (hash ^ static_cast<uint64_t>(token)) * 1099511628211u;
  }
  Slot& At(Slots& slots, const std::vector<int32_t>& pages, int64_t first_page,
           int64_t position) const {
    const int64_t page = pages[static_cast<size_t>(first_page + position / limits_.page_tokens)];
    return slots[static_cast<size_t>(page * limits_.page_tokens + position % limits_.page_tokens)];
  }
  int64_t ChunkStart(int64_t position) const {
    return limits_.chunk == 0 ? 0 : position / limits_.chunk * limits_.chunk;
  }

  std::string Copy(const std::vector<int32_t>& copies, Slots& slots) const {
    std::set<int32_t> read;
    std::set<int32_t> written;
    for (size_t i = 0; i + 1 < copies.size(); i += 2) {
      read.insert(copies[i]);
      if (!written.insert(copies[i + 1]).second) return "a page is copied to twice";
      std::copy_n(slots.begin() + copies[i] * limits_.page_tokens, limits_.page_tokens,
                  slots.begin() + copies[i + 1] * limits_.page_tokens);
    }
    for (const int32_t page : written) {
      if (read.contains(page)) return "a page is copied both from and to";
    }
    return "";
  }

  // INV-SCHED-5.
  std::string CheckWrites(const StepPlan& plan) const {
    const auto check = [&](const std::vector<int32_t>& pages, const std::vector<int32_t>& offsets,
                           bool chunked) -> std::string {
      std::vector<int> names(static_cast<size_t>(chunked ? limits_.chunk_pages : limits_.pages));
      for (const int32_t page : pages) ++names[static_cast<size_t>(page)];
      for (size_t span = 0; span + 1 < plan.span_offsets.size(); ++span) {
        int64_t first = plan.positions[static_cast<size_t>(plan.span_offsets[span])];
        if (chunked) first -= ChunkStart(first);
        for (int64_t i = offsets[span] + first / limits_.page_tokens; i < offsets[span + 1]; ++i) {
          const int32_t page = pages[static_cast<size_t>(i)];
          if (names[static_cast<size_t>(page)] != 1) {
            return absl::StrFormat("INV-SCHED-5: page %d is written and named elsewhere", page);
          }
        }
      }
      return "";
    };
    std::string wrong = check(plan.pages, plan.page_offsets, false);
    if (wrong.empty() && limits_.chunk > 0) {
      wrong = check(plan.chunk_pages, plan.chunk_page_offsets, true);
    }
    return wrong;
  }

  std::string RunSpan(const StepPlan& plan, size_t span, size_t& sample, StepResult& result) {
    const int32_t begin = plan.span_offsets[span];
    const int32_t end = plan.span_offsets[span + 1];
    const int64_t first = plan.positions[static_cast<size_t>(begin)];
    const int64_t start = ChunkStart(first);
    const int64_t last = first + end - begin - 1;
    if (ChunkStart(last) != start) return "INV-SCHED-4: a span crosses a chunk's end";
    const auto covered = [&](const std::vector<int32_t>& offsets, int64_t position) {
      return (offsets[span + 1] - offsets[span]) * limits_.page_tokens > position;
    };
    if (!covered(plan.page_offsets, last) ||
        (limits_.chunk > 0 && !covered(plan.chunk_page_offsets, last - start))) {
      return "pages do not cover a span";
    }
    const auto slot = [&](int64_t position) -> Slot& {
      return At(slots_, plan.pages, plan.page_offsets[span], position);
    };
    const auto chunk_slot = [&](int64_t position) -> Slot& {
      return At(chunk_slots_, plan.chunk_pages, plan.chunk_page_offsets[span], position - start);
    };
    std::vector<int32_t> tokens;
    uint64_t prefix = 14695981039346656037u;
    for (int64_t position = 0; position <= last; ++position) {
      if (position >= first) {
        const int32_t token = plan.tokens[static_cast<size_t>(begin + (position - first))];
        slot(position) = {token, static_cast<int32_t>(position), Chain(prefix, token)};
        if (limits_.chunk > 0) chunk_slot(position) = slot(position);
      }
      const Slot& key = slot(position);
      prefix = Chain(prefix, key.token);
      tokens.push_back(key.token);
      const bool alike =
          limits_.chunk == 0 || position < start ||
          (chunk_slot(position).prefix == prefix && chunk_slot(position).position == position);
      if (key.position != position || key.prefix != prefix || !alike) {
        return absl::StrFormat("span %d from position %d reads a wrong key at %d", span, first,
                               position);
      }
      if (position < first) continue;
      const auto row = static_cast<int32_t>(begin + (position - first));
      for (; sample < plan.samples.size() && plan.samples[sample].row == row; ++sample) {
        SampledToken token;
        token.token = plan.samples[sample].target;
        if (token.token < 0) token.token = TokenAfter(tokens);
        result.samples.push_back(token);
      }
    }
    return "";
  }

  const SchedulerLimits limits_;
  const int32_t vocabulary_;
  const size_t memory_;
  Slots slots_;
  Slots chunk_slots_;
};

}  // namespace trireme
