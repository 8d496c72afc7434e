// Sequences that share pages, and caches that are too small for all that wait.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "runtime/engine/scheduler.h"
#include "tests/runtime/engine/paged_model.h"

namespace trireme {
namespace {

constexpr int32_t kVocabulary = 1000;
constexpr SchedulerLimits kLimits{
    .pages = 100, .page_tokens = 8, .max_sequences = 16, .max_step_tokens = 64};

// Runs a scheduler over a PagedModel, one plan at a time, to the end.
class Service {
 public:
  explicit Service(const SchedulerLimits& limits)
      : model_(limits, kVocabulary, /*memory=*/0), scheduler_(limits) {}

  void Add(const Request& request) {
    requests_[request.id] = request;
    added_[request.id] = steps_;
    scheduler_.Add(request, steps_);
  }
  bool Step() {
    const auto plan = scheduler_.Next();
    if (!plan) return false;
    ++steps_;
    rows_ += static_cast<int64_t>(plan->tokens.size());
    StepResult result;
    EXPECT_EQ(model_.Run(*plan, result), "");
    for (const TokenEvent& event : scheduler_.Complete(result)) {
      if (event.has_token && !event.is_prompt) tokens_[event.request].push_back(event.token.token);
      if (event.finish != FinishReason::kNone) ended_.emplace(event.request, steps_);
    }
    return true;
  }
  void RunAll() {
    while (Step()) {
    }
    EXPECT_TRUE(scheduler_.idle());
    for (const auto& [id, request] : requests_) {
      EXPECT_EQ(tokens_[id], model_.Completion(request)) << "request " << id;
      EXPECT_TRUE(ended_.contains(id));
    }
  }

  Scheduler& scheduler() { return scheduler_; }
  int64_t rows() const { return rows_; }
  int64_t steps() const { return steps_; }
  int64_t ended(uint64_t id) const { return ended_.at(id); }
  const std::map<uint64_t, int64_t>& all_ended() const { return ended_; }

 private:
  PagedModel model_;
  Scheduler scheduler_;
  std::map<uint64_t, Request> requests_;
  std::map<uint64_t, std::vector<int32_t>> tokens_;
  std::map<uint64_t, int64_t> added_;
  std::map<uint64_t, int64_t> ended_;
  int64_t rows_ = 0;
  int64_t steps_ = 0;
};

Request MakeRequest(uint64_t id, int32_t text, int prompt, int max_tokens) {
  Request request;
  request.id = id;
  for (int i = 0; i < prompt; ++i) request.prompt.push_back((text * 31 + i) % kVocabulary);
  request.max_tokens = max_tokens;
  return request;
}

TEST(Sharing, ContinuationsOfOnePromptThatComeTogetherReadItOnce) {
  for (const bool chunked : {false, true}) {
    SchedulerLimits limits = kLimits;
    if (chunked) {
      limits.chunk = 32;
      limits.chunk_pages = 80;
    }
    Service service(limits);
    for (uint64_t id = 1; id <= 8; ++id) {
      Request request = MakeRequest(id, 1, 77, 1);
      request.sequence = static_cast<uint32_t>(id);
      service.Add(request);
    }
    service.RunAll();
    // Each its last token, which the next is drawn after.
    EXPECT_EQ(service.rows(), 77 + 7);
    EXPECT_EQ(service.scheduler().counters().prefix_hit_tokens, 7 * 76);
    EXPECT_EQ(service.scheduler().counters().preemptions, 0U);
    EXPECT_EQ(service.scheduler().free_pages(), limits.pages);
  }
}

TEST(Sharing, ALaterPromptReadsOnlyWhatIsNew) {
  Service service(kLimits);
  service.Add(MakeRequest(1, 1, 64, 4));
  service.RunAll();
  const int64_t before = service.rows();
  Request longer = MakeRequest(2, 1, 64, 1);
  for (int i = 0; i < 10; ++i) longer.prompt.push_back(7);
  service.Add(longer);
  service.RunAll();
  EXPECT_EQ(service.rows() - before, 10);
}

TEST(Sharing, NothingIsSharedBetweenTenantsThatAreApartOrWhenOff) {
  for (const bool apart : {true, false}) {
    SchedulerLimits limits = kLimits;
    limits.isolate_tenants = apart;
    limits.prefix_cache = apart;
    Service service(limits);
    for (uint64_t id = 1; id <= 2; ++id) {
      Request request = MakeRequest(id, 1, 40, 1);
      request.tenant = std::to_string(id);
      service.Add(request);
    }
    service.RunAll();
    EXPECT_EQ(service.rows(), 80);
  }
}

TEST(Sharing, APromptThatIsScoredIsReadWhole) {
  Service service(kLimits);
  service.Add(MakeRequest(1, 1, 40, 1));
  service.RunAll();
  Request scored = MakeRequest(2, 1, 40, 1);
  scored.prompt_logprobs = true;
  service.Add(scored);
  service.RunAll();
  EXPECT_EQ(service.rows(), 80);
}

TEST(Pressure, TwoHundredRequestsIntoACacheForTenAllFinishInOrder) {
  SchedulerLimits limits = kLimits;
  limits.max_sequences = 64;
  limits.pages = 10 * 8;  // ten of 64 positions
  Service service(limits);
  for (uint64_t id = 1; id <= 200; ++id) {
    Request request = MakeRequest(id, static_cast<int32_t>(id * 37), 20, 45);
    request.tenant = id % 2 == 0 ? "a" : "b";
    service.Add(request);
  }
  service.RunAll();
  EXPECT_EQ(service.scheduler().free_pages(), limits.pages);
  EXPECT_GT(service.scheduler().counters().preemptions, 0U);
  // Nobody is starved: the one that came k-th ends when about k of 200 have.
  std::vector<int64_t> waits;
  for (const auto& [id, step] : service.all_ended()) {
    waits.push_back(step);
    EXPECT_LT(step, service.steps() * static_cast<int64_t>(id + 40) / 200) << "request " << id;
  }
  std::sort(waits.begin(), waits.end());
  std::printf("steps waited: median %d, most %d, with %d preemptions\n",
              static_cast<int>(waits[100]), static_cast<int>(waits.back()),
              static_cast<int>(service.scheduler().counters().preemptions));
}

TEST(Pressure, TheFirstTurnIsNeverGivenUp) {
  SchedulerLimits limits = kLimits;
  limits.pages = 9;
  Service service(limits);
  service.Add(MakeRequest(1, 1, 8, 57));
  for (uint64_t id = 2; id <= 6; ++id)
    service.Add(MakeRequest(id, static_cast<int32_t>(id), 8, 57));
  service.RunAll();
  EXPECT_EQ(service.ended(1), 57);
}

TEST(Pressure, BothKindsOfPagesMayRunOut) {
  SchedulerLimits limits = kLimits;
  limits.chunk = 16;
  limits.chunk_pages = 5;
  limits.pages = 60;
  Service service(limits);
  for (uint64_t id = 1; id <= 20; ++id) {
    service.Add(MakeRequest(id, static_cast<int32_t>(id % 3), 20, 30));
  }
  service.RunAll();
  EXPECT_EQ(service.scheduler().free_chunk_pages(), limits.chunk_pages);
}

// A request's first token says how it began, on the clock that the scheduler is told.
TEST(BeginningTest, SaysHowLongItWaitedAndReadAndWhatItFound) {
  PagedModel model(kLimits, kVocabulary, /*memory=*/0);
  Scheduler scheduler(kLimits);
  Request request{.id = 1, .max_tokens = 2};
  for (int32_t token = 0; token < 20; ++token) request.prompt.push_back(token);
  std::vector<Beginning> beginnings;
  int64_t now_ms = 1'000;
  for (const uint64_t id : {1, 2}) {
    request.id = id;
    scheduler.Add(request, now_ms);
    EXPECT_TRUE(scheduler.Expire(now_ms += 30).empty());
    while (const auto plan = scheduler.Next()) {
      StepResult result;
      ASSERT_EQ(model.Run(*plan, result), "");
      for (const TokenEvent& event : scheduler.Complete(result, now_ms += 7)) {
        if (event.beginning.has_value()) beginnings.push_back(*event.beginning);
      }
    }
  }
  ASSERT_EQ(beginnings.size(), 2u);
  EXPECT_EQ(beginnings[0].queued_ms, 30);
  EXPECT_EQ(beginnings[0].prefill_ms, 7);
  EXPECT_EQ(beginnings[0].cached_tokens, 0);
  EXPECT_EQ(beginnings[1].queued_ms, 30);
  EXPECT_EQ(beginnings[1].cached_tokens, 19) << "all but the row that gives the first token";
}

}  // namespace
}  // namespace trireme
