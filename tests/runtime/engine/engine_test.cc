#include "runtime/engine/engine.h"

#include <gtest/gtest.h>

#include <cmath>
#include <deque>
#include <future>
#include <limits>

#include "runtime/base/mutex.h"
#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

using testing::HasSubstr;

constexpr EngineOptions kOptions{.vocabulary = 200,
                                 .max_positions = 64,
                                 .pages = 8,
                                 .page_tokens = 8,
                                 .max_sequences = 2,
                                 .max_step_tokens = 8,
                                 .max_waiting = 2};

// Answers position % 100, and the step where it is asked for expert loads; fails at a given step.
class CountingExecutor final : public Executor {
 public:
  explicit CountingExecutor(uint64_t fail_at = 0) : fail_at_(fail_at) {}

  absl::Status Submit(const StepPlan& plan) override {
    if (plan.step == fail_at_) return absl::DeadlineExceededError("rank 1 on h2 is late");
    StepResult result{.step = plan.step, .samples = {}, .expert_loads = {}};
    for (const SampleRow& sample : plan.samples) {
      SampledToken token;
      token.token = plan.positions[static_cast<size_t>(sample.row)] % 100;
      result.samples.push_back(token);
    }
    if (plan.report_loads) result.expert_loads = {0, static_cast<int64_t>(plan.step)};
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
  const uint64_t fail_at_;
  std::deque<StepResult> results_;
};

// Collects a request's events and tells when it has ended.
class Collector {
 public:
  EventSink Sink() {
    return [this](const TokenEvent& event) {
      MutexLock lock(mutex_);
      if (event.has_token) tokens_.push_back(event.token.token);
      if (event.finish == FinishReason::kNone) return;
      ++ends_;
      finish_ = event.finish;
      error_ = event.error;
      ended_.NotifyAll();
    };
  }
  bool WaitForEnd() {
    MutexLock lock(mutex_);
    const Deadline deadline = Deadline::AfterMs(30'000);
    while (ends_ == 0) {
      if (!ended_.WaitUntil(mutex_, deadline)) return false;
    }
    return true;
  }
  std::vector<int32_t> tokens() {
    MutexLock lock(mutex_);
    return tokens_;
  }
  FinishReason finish() {
    MutexLock lock(mutex_);
    return finish_;
  }
  absl::Status error() {
    MutexLock lock(mutex_);
    return error_;
  }
  int ends() {
    MutexLock lock(mutex_);
    return ends_;
  }

 private:
  Mutex mutex_;
  CondVar ended_;
  std::vector<int32_t> tokens_ ABSL_GUARDED_BY(mutex_);
  FinishReason finish_ ABSL_GUARDED_BY(mutex_) = FinishReason::kNone;
  absl::Status error_ ABSL_GUARDED_BY(mutex_);
  int ends_ ABSL_GUARDED_BY(mutex_) = 0;
};

Request MakeRequest(uint64_t id, std::vector<int32_t> prompt, int max_tokens) {
  Request request;
  request.id = id;
  request.prompt = std::move(prompt);
  request.max_tokens = max_tokens;
  return request;
}

TEST(Engine, ServesRequestsThatArriveTogether) {
  Engine engine(kOptions, std::make_unique<CountingExecutor>());
  Collector first;
  Collector second;
  ASSERT_OK(engine.Submit(MakeRequest(1, {1, 2, 3}, 4), first.Sink()));
  ASSERT_OK(engine.Submit(MakeRequest(2, {1}, 2), second.Sink()));
  ASSERT_TRUE(first.WaitForEnd() && second.WaitForEnd());
  EXPECT_EQ(first.tokens(), (std::vector<int32_t>{2, 3, 4, 5}));
  EXPECT_EQ(second.tokens(), (std::vector<int32_t>{0, 1}));
  EXPECT_EQ(first.finish(), FinishReason::kLength);
}

TEST(Engine, RefusesBadRequestsByName) {
  Engine engine(kOptions, std::make_unique<CountingExecutor>());
  const auto refused = [&](Request request, std::string_view why) {
    EXPECT_THAT(engine.Submit(std::move(request), [](const TokenEvent&) {}),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(std::string(why))));
  };
  refused(MakeRequest(1, {}, 1), "empty");
  refused(MakeRequest(1, {1}, 0), "max_tokens");
  refused(MakeRequest(1, {1}, 65), "context of 64");
  refused(MakeRequest(1, {200}, 1), "token id 200");
  refused(MakeRequest(1, {-1}, 1), "token id -1");
  Request not_a_number = MakeRequest(1, {1}, 1);
  not_a_number.sampling.temperature = std::numeric_limits<float>::quiet_NaN();
  refused(not_a_number, "temperature");
  Request stop = MakeRequest(1, {1}, 1);
  stop.stop_tokens = {1000};
  refused(stop, "stop_tokens");
}

TEST(Engine, AFailedStepEndsEveryRequestAndRefusesNewOnes) {
  Engine engine(kOptions, std::make_unique<CountingExecutor>(/*fail_at=*/3));
  Collector collector;
  ASSERT_OK(engine.Submit(MakeRequest(1, {1}, 40), collector.Sink()));
  ASSERT_TRUE(collector.WaitForEnd());
  EXPECT_EQ(collector.finish(), FinishReason::kError);
  EXPECT_THAT(collector.error(),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("rank 1 on h2 is late")));
  EXPECT_THAT(engine.Submit(MakeRequest(2, {1}, 1), collector.Sink()),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("rank 1 on h2")));
  EXPECT_FALSE(engine.status().health.ok());
}

TEST(Engine, StopEndsWhatRunsExactlyOnce) {
  Engine engine(kOptions, std::make_unique<CountingExecutor>());
  Collector collector;
  std::promise<void> started;
  ASSERT_OK(engine.Submit(MakeRequest(1, {1}, 60), [&](const TokenEvent& event) {
    collector.Sink()(event);
    if (event.has_token && event.index == 0) started.set_value();
  }));
  started.get_future().wait();
  engine.Stop();
  EXPECT_EQ(collector.ends(), 1);
  EXPECT_THAT(engine.Submit(MakeRequest(2, {1}, 1), collector.Sink()),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("stopping")));
}

TEST(Engine, AsksForExpertLoadsAfterIdleTimesAndEverySoManySteps) {
  EngineOptions options = kOptions;
  options.experts = 2;
  Engine engine(options, std::make_unique<CountingExecutor>());
  EXPECT_EQ(engine.status().experts, 2);
  EXPECT_TRUE(engine.status().expert_loads.empty());
  uint64_t id = 0;
  const auto loads_after = [&](int steps) {
    Collector collector;
    EXPECT_OK(engine.Submit(MakeRequest(++id, {1}, steps), collector.Sink()));
    EXPECT_TRUE(collector.WaitForEnd());
    return engine.status().expert_loads;
  };
  EXPECT_EQ(loads_after(5), (std::vector<int64_t>{0, 1}));
  EXPECT_EQ(loads_after(16), (std::vector<int64_t>{0, 6}));
  EXPECT_EQ(loads_after(17), (std::vector<int64_t>{0, 38}));
  EXPECT_EQ(loads_after(40), (std::vector<int64_t>{0, 71}));
}

TEST(Engine, AsksForNoLoadsOfAModelWithoutExperts) {
  Engine engine(kOptions, std::make_unique<CountingExecutor>());
  Collector collector;
  ASSERT_OK(engine.Submit(MakeRequest(1, {1}, 40), collector.Sink()));
  ASSERT_TRUE(collector.WaitForEnd());
  EXPECT_TRUE(engine.status().expert_loads.empty());
}

TEST(Engine, CancelEndsARunningRequest) {
  Engine engine(kOptions, std::make_unique<CountingExecutor>());
  Collector collector;
  ASSERT_OK(engine.Submit(MakeRequest(1, {1}, 64), [&](const TokenEvent& event) {
    if (event.index == 0) engine.Cancel(1);
    collector.Sink()(event);
  }));
  ASSERT_TRUE(collector.WaitForEnd());
  EXPECT_EQ(collector.finish(), FinishReason::kCancelled);
  EXPECT_LE(collector.tokens().size(), 3U);
  engine.Cancel(77);  // unknown: ignored
}

}  // namespace
}  // namespace trireme
