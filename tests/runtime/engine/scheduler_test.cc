#include "runtime/engine/scheduler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <deque>

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
  Request other = MakeRequest(2, 2, 2);
  other.prompt[0] = 77;
  scheduler.Add(other, 0);
  const auto plan = scheduler.Next();
  StepResult result = Answer(*plan);
  result.samples[0].finite = false;
  const auto events = scheduler.Complete(result);
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(events[0].finish, FinishReason::kError);
  EXPECT_THAT(events[0].error, StatusIs(absl::StatusCode::kInternal, testing::_));
  EXPECT_EQ(events[1].finish, FinishReason::kNone);
}

TEST(Scheduler, ARequestThatBansEveryTokenIsToBlameItself) {
  Scheduler scheduler(kLimits);
  scheduler.Add(MakeRequest(1, 2, 2), 0);
  StepResult result = Answer(*scheduler.Next());
  result.samples[0].finite = false;
  result.samples[0].all_banned = true;
  const auto events = scheduler.Complete(result);
  ASSERT_EQ(events.size(), 1U);
  EXPECT_THAT(events[0].error,
              StatusIs(absl::StatusCode::kInvalidArgument, testing::HasSubstr("logit_bias")));
}

TEST(Scheduler, DealsDecodingSequencesToAsManyPlansAsFitInFlight) {
  SchedulerLimits limits = kLimits;
  limits.max_sequences = 8;
  limits.max_step_tokens = 32;
  limits.pages = 40;
  limits.depth = 2;
  Scheduler scheduler(limits);
  for (uint64_t id = 1; id <= 6; ++id) scheduler.Add(MakeRequest(id, 1, 5), 0);
  std::vector<size_t> rows;
  std::deque<StepPlan> in_flight;
  for (int turn = 0; turn < 20; ++turn) {
    while (auto plan = scheduler.Next()) {
      rows.push_back(plan->tokens.size());
      in_flight.push_back(*std::move(plan));
    }
    EXPECT_LE(in_flight.size(), 2U);
    if (in_flight.empty()) break;
    scheduler.Complete(Answer(in_flight.front()));
    in_flight.pop_front();
  }
  EXPECT_EQ(rows, std::vector<size_t>(10, 3));
}

TEST(Scheduler, PiecesOfAPromptFollowEachOtherInFlight) {
  SchedulerLimits limits = kLimits;
  limits.depth = 3;
  Scheduler scheduler(limits);
  scheduler.Add(MakeRequest(1, 19, 3), 0);
  std::vector<size_t> rows;
  std::deque<StepPlan> in_flight;
  while (auto plan = scheduler.Next()) {
    rows.push_back(plan->tokens.size());
    in_flight.push_back(*std::move(plan));
  }
  EXPECT_EQ(rows, (std::vector<size_t>{8, 8, 3}));
  for (const StepPlan& plan : in_flight) scheduler.Complete(Answer(plan));
  EXPECT_EQ(scheduler.Next()->tokens.size(), 1U);
}

TEST(Scheduler, ALongPromptIsReadBesideThoseThatDecode) {
  Scheduler scheduler(kLimits);
  scheduler.Add(MakeRequest(1, 2, 6), 0);
  scheduler.Complete(Answer(*scheduler.Next()));
  Request other = MakeRequest(2, 15, 2);
  other.prompt[0] = 77;
  scheduler.Add(other, 0);
  const auto plan = scheduler.Next();
  ASSERT_EQ(plan->span_offsets, (std::vector<int32_t>{0, 1, 8}));
}

TEST(Scheduler, DeadlinesEndWhatRunsAndWhatWaits) {
  SchedulerLimits limits = kLimits;
  limits.max_sequences = 1;
  Scheduler scheduler(limits);
  for (uint64_t id = 1; id <= 3; ++id) {
    Request request = MakeRequest(id, 2, 9);
    request.deadline_ms = id == 3 ? 0 : 100;
    scheduler.Add(request, 0);
  }
  const auto plan = scheduler.Next();
  EXPECT_TRUE(scheduler.Expire(99).empty());
  const auto ends = scheduler.Expire(100);
  ASSERT_EQ(ends.size(), 2U);
  for (const TokenEvent& end : ends) {
    EXPECT_EQ(end.finish, FinishReason::kError);
    EXPECT_THAT(end.error, StatusIs(absl::StatusCode::kDeadlineExceeded, testing::_));
  }
  EXPECT_TRUE(scheduler.Complete(Answer(*plan)).empty());
  EXPECT_EQ(scheduler.running() + scheduler.waiting(), 1);
}

TEST(Scheduler, BiasesBanStopTokensWhileTooFewAreMade) {
  Scheduler scheduler(kLimits);
  Request request = MakeRequest(1, 2, 4);
  request.stop_tokens = {9, 9, 5};
  request.min_tokens = 1;
  request.logit_bias = {{5, 2.0F}, {6, -1.0F}};
  scheduler.Add(request, 0);
  auto plan = scheduler.Next();
  EXPECT_EQ(plan->bias_tokens, (std::vector<int32_t>{9, 5, 6}));
  EXPECT_TRUE(std::isinf(plan->bias_values[0]) && std::isinf(plan->bias_values[1]));
  EXPECT_EQ(plan->samples[0].biases.count, 3);
  scheduler.Complete(Answer(*plan));
  plan = scheduler.Next();
  EXPECT_EQ(plan->bias_tokens, (std::vector<int32_t>{5, 6}));
  EXPECT_EQ(plan->bias_values, (std::vector<float>{2.0F, -1.0F}));
}

TEST(Scheduler, ARowOfADraftHasTheHistoryAndTheBansOfItsPlace) {
  SchedulerLimits limits = kLimits;
  limits.speculative_tokens = 2;
  Scheduler scheduler(limits);
  Request request = MakeRequest(1, 2, 12);
  request.prompt = {1, 2, 3, 1, 2};
  request.stop_tokens = {50};
  request.min_tokens = 3;
  request.sampling.presence_penalty = 1;
  scheduler.Add(request, 0);
  StepResult result = Answer(*scheduler.Next());
  result.samples[0].token = 3;  // as once before
  scheduler.Complete(result);
  const auto plan = scheduler.Next();
  EXPECT_EQ(plan->tokens, (std::vector<int32_t>{3, 1, 2}));
  ASSERT_EQ(plan->samples.size(), 3U);
  for (uint32_t i = 0; i < 3; ++i) EXPECT_EQ(plan->samples[i].draw, 1 + i);
  EXPECT_EQ(plan->samples[0].biases.count, 1);
  EXPECT_EQ(plan->samples[1].biases.count, 1);
  EXPECT_EQ(plan->samples[2].biases.count, 0);
  const auto counts = [&](size_t sample) {
    const PlanRange range = plan->samples[sample].history;
    const auto begin = plan->history_counts.begin() + range.first;
    return std::vector<int32_t>(begin, begin + range.count);
  };
  EXPECT_EQ(counts(0), (std::vector<int32_t>{0, 0, 1}));
  EXPECT_EQ(counts(1), (std::vector<int32_t>{1, 0, 1}));
  EXPECT_EQ(counts(2), (std::vector<int32_t>{1, 1, 1}));
}

TEST(Scheduler, KeepsADraftAsFarAsItIsWhatIsDrawn) {
  SchedulerLimits limits = kLimits;
  limits.speculative_tokens = 3;
  Scheduler scheduler(limits);
  Request request = MakeRequest(1, 1, 12);
  request.prompt = {1, 2, 3, 4, 1, 2};
  scheduler.Add(request, 0);
  StepResult result = Answer(*scheduler.Next());
  result.samples[0].token = 3;
  scheduler.Complete(result);
  const auto plan = scheduler.Next();
  ASSERT_EQ(plan->tokens, (std::vector<int32_t>{3, 4, 1, 2}));
  result = Answer(*plan);
  for (size_t i = 0; i < 4; ++i) result.samples[i].token = std::vector<int32_t>{4, 1, 9, 8}[i];
  const auto events = scheduler.Complete(result);
  ASSERT_EQ(events.size(), 3U);
  EXPECT_EQ(events[2].token.token, 9);
  EXPECT_EQ(scheduler.counters().drafted_tokens, 3);
  EXPECT_EQ(scheduler.counters().accepted_tokens, 2);
  const auto next = scheduler.Next();
  EXPECT_EQ(next->tokens, (std::vector<int32_t>{9}));
  EXPECT_EQ(next->positions, (std::vector<int32_t>{9}));
}

}  // namespace
}  // namespace trireme
