#include "runtime/engine/engine.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <deque>
#include <future>
#include <limits>

#include "runtime/base/mutex.h"
#include "runtime/engine/grammar_vocabulary.h"
#include "tests/support/byte_tokenizer.h"
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
  explicit CountingExecutor(uint64_t fail_at = 0, int depth = 1)
      : fail_at_(fail_at), depth_(depth) {}
  // Every plan is answered before it goes.
  ~CountingExecutor() override { EXPECT_TRUE(fail_at_ > 0 || results_.empty()); }

  absl::Status Submit(const StepPlan& plan, absl::FunctionRef<void()>) override {
    EXPECT_LT(static_cast<int>(results_.size()), depth_);
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
  int depth() const override { return depth_; }

 private:
  const uint64_t fail_at_;
  const int depth_;
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

TEST(Engine, KeepsAsManyPlansInFlightAsTheExecutorTakes) {
  for (const int depth : {2, 4}) {
    Engine engine(kOptions, std::make_unique<CountingExecutor>(/*fail_at=*/0, depth));
    Collector first;
    Collector second;
    ASSERT_OK(engine.Submit(MakeRequest(1, {1, 2, 3}, 30), first.Sink()));
    ASSERT_OK(engine.Submit(MakeRequest(2, {1}, 20), second.Sink()));
    ASSERT_TRUE(first.WaitForEnd() && second.WaitForEnd());
    EXPECT_EQ(first.tokens().size(), 30U);
    EXPECT_EQ(second.tokens().back(), 19);
    Collector stopped;
    ASSERT_OK(engine.Submit(MakeRequest(3, {1}, 60), stopped.Sink()));
    engine.Stop();
    EXPECT_EQ(stopped.ends(), 1);
  }
}

// Time that a test moves.
class SetClock final : public Clock {
 public:
  int64_t NowMs() const override { return now_ms_.load(); }
  void Set(int64_t now_ms) { now_ms_ = now_ms; }

 private:
  std::atomic<int64_t> now_ms_{1000};
};

TEST(Engine, EndsARequestWhoseDeadlineHasPassed) {
  SetClock clock;
  EngineOptions options = kOptions;
  options.clock = &clock;
  Engine engine(options, std::make_unique<CountingExecutor>());
  Collector collector;
  Request request = MakeRequest(1, {1}, 64);
  request.deadline_ms = 1500;
  ASSERT_OK(engine.Submit(request, [&](const TokenEvent& event) {
    if (event.index == 3) clock.Set(1500);
    collector.Sink()(event);
  }));
  ASSERT_TRUE(collector.WaitForEnd());
  EXPECT_EQ(collector.finish(), FinishReason::kError);
  EXPECT_THAT(collector.error(), StatusIs(absl::StatusCode::kDeadlineExceeded, testing::_));
  EXPECT_LE(collector.tokens().size(), 5U);
}

TEST(Engine, StopStringsAndGrammarsNeedATokenizer) {
  const ByteTokenizer tokenizer;
  Request request = MakeRequest(1, {1}, 64);
  request.stop_strings = {"$%"};  // bytes 36, 37: drawn at those positions
  Collector collector;
  Engine without(kOptions, std::make_unique<CountingExecutor>());
  EXPECT_THAT(without.Submit(request, collector.Sink()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("stop strings")));
  Request constrained = MakeRequest(2, {1}, 64);
  constrained.grammar.kind = GrammarSpec::Kind::kJsonObject;
  EXPECT_THAT(without.Submit(constrained, collector.Sink()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("json_object")));
  EngineOptions options = kOptions;
  options.tokenizer = &tokenizer;
  Engine engine(options, std::make_unique<CountingExecutor>());
  ASSERT_OK(engine.Submit(request, collector.Sink()));
  ASSERT_TRUE(collector.WaitForEnd());
  EXPECT_EQ(collector.finish(), FinishReason::kStop);
  EXPECT_EQ(collector.tokens().back(), 37);
  request.stop_strings = {""};
  EXPECT_THAT(engine.Submit(request, collector.Sink()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("stop string")));
}

// Draws the last token that the mask allows.
class MaskedExecutor final : public Executor {
 public:
  absl::Status Submit(const StepPlan& plan, absl::FunctionRef<void()> wait_for_masks) override {
    wait_for_masks();
    result_ = {.step = plan.step, .samples = {}, .expert_loads = {}};
    const size_t words = static_cast<size_t>(MaskWords(ByteTokenizer::kEnd + 1));
    for (const SampleRow& sample : plan.samples) {
      SampledToken& token = result_.samples.emplace_back();
      for (int32_t id = 0; sample.mask >= 0 && id <= ByteTokenizer::kEnd; ++id) {
        const size_t word = static_cast<size_t>(sample.mask) * words + static_cast<size_t>(id / 32);
        if ((plan.masks[word] >> (id % 32)) % 2 == 1) token.token = id;
      }
    }
    return absl::OkStatus();
  }
  absl::StatusOr<StepResult> Await(Deadline) override { return result_; }
  int depth() const override { return 1; }

 private:
  StepResult result_;
};

TEST(Engine, AGrammarMasksEachDrawAndEndsTheRequest) {
  const ByteTokenizer tokenizer;
  EngineOptions options = kOptions;
  options.vocabulary = ByteTokenizer::kEnd + 1;
  const auto compiler = GrammarCompiler::Create(
      GrammarVocabularyOf(tokenizer, {ByteTokenizer::kEnd}, options.vocabulary), {});
  ASSERT_OK(compiler.status());
  options.tokenizer = &tokenizer;
  options.grammars = compiler->get();
  Engine engine(options, std::make_unique<MaskedExecutor>());
  const auto answer = [&](Request request, std::vector<std::string> choices) {
    request.grammar = {.kind = GrammarSpec::Kind::kChoice, .text = "", .choices = choices};
    Collector collector;
    EXPECT_OK(engine.Submit(request, collector.Sink()));
    EXPECT_TRUE(collector.WaitForEnd());
    EXPECT_EQ(collector.finish(), FinishReason::kStop);
    const std::vector<int32_t> tokens = collector.tokens();
    EXPECT_EQ(tokens.back(), ByteTokenizer::kEnd);
    return std::string(tokens.begin(), tokens.end() - 1);
  };
  EXPECT_EQ(answer(MakeRequest(1, {1}, 20), {"alpha", "beta"}), "beta");
  // Replayed: the prompt holds the first two tokens of the completion.
  Request replayed = MakeRequest(2, {1, 'a', 'l'}, 20);
  replayed.first_draw = 2;
  EXPECT_EQ(answer(replayed, {"alpha", "beta"}), "pha");
  // Where nothing but a stop may follow, too few tokens are enough.
  Request longer = MakeRequest(3, {1}, 20);
  longer.min_tokens = 15;
  longer.stop_tokens = {ByteTokenizer::kEnd};
  EXPECT_EQ(answer(longer, {"x"}), "x");
  Request bad = MakeRequest(4, {1}, 20);
  bad.grammar = {.kind = GrammarSpec::Kind::kRegex, .text = "(", .choices = {}};
  EXPECT_THAT(engine.Submit(bad, [](const TokenEvent&) {}),
              StatusIs(absl::StatusCode::kInvalidArgument, testing::_));
}

TEST(Engine, RefusesBiasesAndMinimaThatCannotBe) {
  Engine engine(kOptions, std::make_unique<CountingExecutor>());
  const auto refused = [&](Request request, std::string_view why) {
    EXPECT_THAT(engine.Submit(std::move(request), [](const TokenEvent&) {}),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(std::string(why))));
  };
  Request request = MakeRequest(1, {1}, 4);
  request.min_tokens = 5;
  refused(request, "min_tokens must be in [0, 4]");
  request = MakeRequest(1, {1}, 4);
  request.logit_bias = {{3, 1.0F}, {3, 2.0F}};
  refused(request, "token id 3 twice");
  request.logit_bias = {{200, 1.0F}};
  refused(request, "token id 200");
  request.logit_bias = {{3, std::numeric_limits<float>::quiet_NaN()}};
  refused(request, "logit_bias of token id 3");
  request = MakeRequest(1, {1}, 4);
  request.first_draw = 2;
  refused(request, "cannot hold 2 tokens");
}

}  // namespace
}  // namespace trireme
