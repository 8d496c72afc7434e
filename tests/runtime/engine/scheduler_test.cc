#include "runtime/engine/scheduler.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

constexpr SchedulerLimits kLimits{
    .pages = 12, .page_tokens = 4, .max_sequences = 3, .max_step_tokens = 8};

Request MakeRequest(uint64_t id, int prompt, int max_tokens) {
  Request request;
  request.id = id;
  for (int i = 0; i < prompt; ++i) request.prompt.push_back(i + 1);
  request.max_tokens = max_tokens;
  return request;
}

// What a model would answer: a token that depends only on the request, never on the company.
StepResult Answer(const StepPlan& plan) {
  StepResult result{.step = plan.step, .samples = {}, .expert_loads = {}};
  for (const SampleRow& sample : plan.samples) {
    SampledToken token;
    token.token = sample.target >= 0 ? sample.target
                                     : 100 + plan.positions[static_cast<size_t>(sample.row)] % 50;
    result.samples.push_back(token);
  }
  return result;
}

// INV-SCHED-2, and that no page is shared between the sequences of a plan.
void CheckPlanShape(const StepPlan& plan, const SchedulerLimits& limits) {
  EXPECT_LE(static_cast<int64_t>(plan.tokens.size()), limits.max_step_tokens);
  EXPECT_LE(static_cast<int64_t>(plan.span_offsets.size()) - 1, limits.max_sequences);
  EXPECT_EQ(plan.span_offsets.size(), plan.page_offsets.size());
  const std::set<int32_t> distinct(plan.pages.begin(), plan.pages.end());
  EXPECT_EQ(distinct.size(), plan.pages.size()) << "a page belongs to two sequences";
  for (size_t span = 0; span + 1 < plan.span_offsets.size(); ++span) {
    const int64_t last = plan.positions[static_cast<size_t>(plan.span_offsets[span + 1] - 1)];
    EXPECT_GT((plan.page_offsets[span + 1] - plan.page_offsets[span]) * limits.page_tokens, last);
  }
  if (limits.chunk == 0) {
    EXPECT_TRUE(plan.chunk_page_offsets.empty() && plan.chunk_pages.empty());
    return;
  }
  // INV-SCHED-4.
  EXPECT_EQ(plan.span_offsets.size(), plan.chunk_page_offsets.size());
  const std::set<int32_t> of_chunks(plan.chunk_pages.begin(), plan.chunk_pages.end());
  EXPECT_EQ(of_chunks.size(), plan.chunk_pages.size()) << "a chunk's page belongs to two sequences";
  for (size_t span = 0; span + 1 < plan.span_offsets.size(); ++span) {
    const int64_t first = plan.positions[static_cast<size_t>(plan.span_offsets[span])];
    const int64_t last = plan.positions[static_cast<size_t>(plan.span_offsets[span + 1] - 1)];
    EXPECT_EQ(first / limits.chunk, last / limits.chunk);
    EXPECT_GT(
        (plan.chunk_page_offsets[span + 1] - plan.chunk_page_offsets[span]) * limits.page_tokens,
        last % limits.chunk);
  }
}

TEST(Scheduler, CutsAPromptIntoPiecesAndThenDecodes) {
  Scheduler scheduler(kLimits);
  scheduler.Add(MakeRequest(1, 19, 3));
  std::vector<size_t> rows;
  std::vector<TokenEvent> events;
  while (auto plan = scheduler.Next()) {
    rows.push_back(plan->tokens.size());
    for (TokenEvent& event : scheduler.Complete(Answer(*plan))) events.push_back(std::move(event));
  }
  EXPECT_EQ(rows, (std::vector<size_t>{8, 8, 3, 1, 1}));
  ASSERT_EQ(events.size(), 3U);
  EXPECT_EQ(events.back().finish, FinishReason::kLength);
  EXPECT_EQ(events.back().index, 2U);
  EXPECT_EQ(scheduler.free_pages(), kLimits.pages);
}

TEST(Scheduler, StopsAtAStopTokenAndReportsIt) {
  Scheduler scheduler(kLimits);
  Request request = MakeRequest(1, 2, 10);
  request.stop_tokens = {102};  // drawn at position 2
  scheduler.Add(request);
  std::vector<TokenEvent> events;
  while (auto plan = scheduler.Next()) {
    for (TokenEvent& event : scheduler.Complete(Answer(*plan))) events.push_back(std::move(event));
  }
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(events[1].token.token, 102);
  EXPECT_EQ(events[1].finish, FinishReason::kStop);
}

TEST(Scheduler, ScoresEveryPromptTokenAfterTheFirst) {
  Scheduler scheduler(kLimits);
  Request request = MakeRequest(1, 11, 1);
  request.prompt_logprobs = true;
  scheduler.Add(request);
  std::vector<uint32_t> scored;
  while (auto plan = scheduler.Next()) {
    for (const TokenEvent& event : scheduler.Complete(Answer(*plan))) {
      if (!event.is_prompt) continue;
      scored.push_back(event.index);
      EXPECT_EQ(event.token.token, request.prompt[event.index]);
    }
  }
  EXPECT_EQ(scored, (std::vector<uint32_t>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}));
}

TEST(Scheduler, CancelBetweenAPlanAndItsResultKeepsThePagesUntilTheStepEnds) {
  Scheduler scheduler(kLimits);
  scheduler.Add(MakeRequest(1, 4, 4));
  const auto plan = scheduler.Next();
  ASSERT_TRUE(plan.has_value());
  const auto end = scheduler.Cancel(1);
  ASSERT_TRUE(end.has_value());
  EXPECT_EQ(end->finish, FinishReason::kCancelled);
  EXPECT_LT(scheduler.free_pages(), kLimits.pages);
  EXPECT_TRUE(scheduler.Complete(Answer(*plan)).empty());
  EXPECT_EQ(scheduler.free_pages(), kLimits.pages);
  EXPECT_FALSE(scheduler.Next().has_value());
}

TEST(Scheduler, EndsOnlyTheRequestWhoseLogitsAreNotFinite) {
  Scheduler scheduler(kLimits);
  scheduler.Add(MakeRequest(1, 2, 2));
  scheduler.Add(MakeRequest(2, 2, 2));
  const auto plan = scheduler.Next();
  StepResult result = Answer(*plan);
  result.samples[0].finite = false;
  const auto events = scheduler.Complete(result);
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(events[0].finish, FinishReason::kError);
  EXPECT_EQ(events[1].finish, FinishReason::kNone);
}

// 2,000 random days: every request ends exactly once, its tokens depend on nothing but itself, no
// page leaks.
TEST(Scheduler, RandomDaysKeepTheInvariants) {
  for (unsigned seed = 0; seed < 2000; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const auto draw = [&random](int64_t from, uint64_t count) {
      return from + static_cast<int64_t>(random() % count);
    };
    SchedulerLimits limits{.pages = draw(4, 12),
                           .page_tokens = draw(1, 5),
                           .max_sequences = draw(1, 5),
                           .max_step_tokens = draw(1, 9)};
    if (seed % 2 == 1) {
      limits.chunk = draw(1, 12);
      limits.chunk_pages =
          (limits.chunk + limits.page_tokens - 1) / limits.page_tokens + draw(0, 9);
    }
    Scheduler scheduler(limits);
    const int64_t capacity = limits.pages * limits.page_tokens;
    std::map<uint64_t, Request> added;
    std::map<uint64_t, std::vector<int32_t>> tokens;
    std::map<uint64_t, int> ends;
    const auto take = [&](const TokenEvent& event) {
      if (event.has_token) tokens[event.request].push_back(event.token.token);
      if (event.finish != FinishReason::kNone) ++ends[event.request];
    };
    uint64_t next_id = 1;
    for (int turn = 0; turn < 200; ++turn) {
      if (turn < 60 && random() % 2 == 0) {
        const int64_t prompt = draw(1, static_cast<uint64_t>(std::min<int64_t>(capacity, 20)));
        const int64_t most = std::min<int64_t>(capacity - prompt + 1, 8);
        const Request request = MakeRequest(next_id, static_cast<int>(prompt),
                                            static_cast<int>(draw(1, static_cast<uint64_t>(most))));
        added[next_id++] = request;
        scheduler.Add(request);
      }
      const auto plan = scheduler.Next();
      if (random() % 10 == 0 && next_id > 1) {
        if (const auto end = scheduler.Cancel(1 + random() % (next_id - 1))) take(*end);
      }
      if (!plan) continue;
      CheckPlanShape(*plan, limits);
      for (const TokenEvent& event : scheduler.Complete(Answer(*plan))) take(event);
    }
    while (const auto plan = scheduler.Next()) {
      for (const TokenEvent& event : scheduler.Complete(Answer(*plan))) take(event);
    }
    for (const auto& [id, request] : added) {
      EXPECT_EQ(ends[id], 1) << "request " << id;
      for (size_t i = 0; i < tokens[id].size(); ++i) {
        EXPECT_EQ(tokens[id][i], 100 + static_cast<int>(request.prompt.size() + i - 1) % 50);
      }
    }
    EXPECT_EQ(scheduler.free_pages(), limits.pages);
    EXPECT_EQ(scheduler.free_chunk_pages(), limits.chunk_pages);
  }
}

}  // namespace
}  // namespace trireme
