#include "runtime/engine/scheduler.h"

#include <gtest/gtest.h>

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

TEST(Scheduler, CutsAPromptIntoPiecesAndThenDecodes) {
  Scheduler scheduler(kLimits);
  scheduler.Add(MakeRequest(1, 19, 3), 0);
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
  scheduler.Add(request, 0);
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
  scheduler.Add(request, 0);
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

TEST(Scheduler, CancelBetweenAPlanAndItsResultDropsTheResult) {
  Scheduler scheduler(kLimits);
  scheduler.Add(MakeRequest(1, 4, 4), 0);
  const auto plan = scheduler.Next();
  ASSERT_TRUE(plan.has_value());
  const auto end = scheduler.Cancel(1);
  ASSERT_TRUE(end.has_value());
  EXPECT_EQ(end->finish, FinishReason::kCancelled);
  EXPECT_TRUE(scheduler.Complete(Answer(*plan)).empty());
  EXPECT_EQ(scheduler.free_pages(), kLimits.pages);
  EXPECT_FALSE(scheduler.Next().has_value());
}

TEST(Scheduler, EndsOnlyTheRequestWhoseLogitsAreNotFinite) {
  Scheduler scheduler(kLimits);
  scheduler.Add(MakeRequest(1, 2, 2), 0);
  scheduler.Add(MakeRequest(2, 2, 2), 0);
  const auto plan = scheduler.Next();
  StepResult result = Answer(*plan);
  result.samples[0].finite = false;
  const auto events = scheduler.Complete(result);
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(events[0].finish, FinishReason::kError);
  EXPECT_EQ(events[1].finish, FinishReason::kNone);
}

}  // namespace
}  // namespace trireme
