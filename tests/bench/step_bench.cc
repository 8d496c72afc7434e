// What a step costs besides its compute, with 64 sequences that decode: the scheduler's plan and
// its bookkeeping, the plan's way to a follower and the result's way back. The follower decodes and
// checks the plan as a stage does, and makes up tokens. Times are medians: a thread that waits here
// shares two cores with everything else on the machine.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <thread>
#include <vector>

#include "parallel/comm/thread_comm.h"
#include "parallel/pipeline/posted_messages.h"
#include "runtime/base/check.h"
#include "runtime/engine/scheduler.h"
#include "runtime/stage/batch.h"
#include "runtime/step/codec.h"

namespace trireme {
namespace {

constexpr int kSequences = 64;
constexpr int kSteps = 1500;
constexpr int kPromptTokens = 256;
constexpr int64_t kPageTokens = 32;
constexpr int64_t kVocabulary = 128'256;
constexpr int64_t kPages = kSequences * (kPromptTokens + kSteps) / kPageTokens + kSequences;
constexpr int kWarmUp = 300;  // steps that read the prompts, and grow the buffers

Deadline Patience() { return Deadline::AfterMs(30'000); }

Scheduler MakeScheduler() {
  Scheduler scheduler({.pages = kPages,
                       .page_tokens = kPageTokens,
                       .max_sequences = kSequences,
                       .max_step_tokens = 256});
  for (int i = 0; i < kSequences; ++i) {
    Request request;
    request.id = static_cast<uint64_t>(i) + 1;
    for (int t = 0; t < kPromptTokens; ++t) request.prompt.push_back((i * 997 + t * 31) % 50'000);
    request.max_tokens = kSteps;
    scheduler.Add(std::move(request), 0);
  }
  return scheduler;
}

StepResult FakeResult(const StepPlan& plan) {
  StepResult result;
  result.step = plan.step;
  result.samples.resize(plan.samples.size());
  for (size_t i = 0; i < plan.samples.size(); ++i) {
    result.samples[i].token = static_cast<int32_t>((plan.step * 31 + i * 7) % 50'000);
  }
  return result;
}

void Check(const StepPlan& plan) {
  const BatchLimits limits{.rows = 256,
                           .vocabulary = kVocabulary,
                           .max_positions = 131'072,
                           .pages = kPages,
                           .page_tokens = kPageTokens};
  TRI_CHECK_OK(CheckPlan(plan, limits));
}

void Follow(Communicator& world) {
  PostedMessages results(world, 1, "step result");
  StepPlan plan;
  while (true) {
    const auto message = world.RecvMessage(0, kMaxEncodedPlan, Patience(), "step plan");
    TRI_CHECK_OK(message.status());
    TRI_CHECK_OK(DecodePlan(*message, plan));
    if (plan.stop) return;
    Check(plan);
    EncodeResult(FakeResult(plan), **results.Open(Patience()));
    TRI_CHECK_OK(results.Post(0));
  }
}

double Median(std::vector<double>& values) {
  std::nth_element(values.begin(), values.begin() + static_cast<long>(values.size() / 2),
                   values.end());
  return values[values.size() / 2];
}

// Runs `step` on plan after plan; reports the median of the decode steps.
template <typename Step>
void MeasureSteps(benchmark::State& state, const Step& step) {
  Scheduler scheduler = MakeScheduler();
  std::vector<double> microseconds;
  int made = 0;
  for (auto _ : state) {
    const auto begin = Deadline::Clock::now();
    const std::optional<StepPlan> plan = scheduler.Next();
    TRI_CHECK(plan.has_value());
    const StepResult result = step(*plan);
    benchmark::DoNotOptimize(scheduler.Complete(result));
    const std::chrono::duration<double, std::micro> took = Deadline::Clock::now() - begin;
    if (++made > kWarmUp && plan->tokens.size() == kSequences) microseconds.push_back(took.count());
    state.SetIterationTime(took.count() / 1e6);
  }
  if (!microseconds.empty()) state.counters["median_us"] = Median(microseconds);
}

void BM_ScheduleOnly(benchmark::State& state) { MeasureSteps(state, FakeResult); }

void BM_EncodeDecodeCheck(benchmark::State& state) {
  std::vector<std::byte> bytes;
  StepPlan decoded;
  MeasureSteps(state, [&](const StepPlan& plan) {
    EncodePlan(plan, bytes);
    TRI_CHECK_OK(DecodePlan(bytes, decoded));
    Check(decoded);
    return FakeResult(decoded);
  });
  state.counters["plan_bytes"] = static_cast<double>(bytes.size());
}

void BM_TwoThreads(benchmark::State& state) {
  ThreadGroup group(2);
  const std::jthread follower([&] { Follow(*group.World(1)); });
  const std::unique_ptr<Communicator> world = group.World(0);
  PostedMessages plans(*world, 2, "step plan");
  MeasureSteps(state, [&](const StepPlan& plan) {
    EncodePlan(plan, **plans.Open(Patience()));
    TRI_CHECK_OK(plans.Post(1));
    const auto message = world->RecvMessage(1, kMaxEncodedResult, Patience(), "step result");
    TRI_CHECK_OK(message.status());
    return *DecodeResult(*message);
  });
  StepPlan stop;
  stop.stop = true;
  EncodePlan(stop, **plans.Open(Patience()));
  TRI_CHECK_OK(plans.Post(1));
  TRI_CHECK_OK(plans.Finish(Patience()));
}

BENCHMARK(BM_ScheduleOnly)->Iterations(kSteps)->UseManualTime();
BENCHMARK(BM_EncodeDecodeCheck)->Iterations(kSteps)->UseManualTime();
BENCHMARK(BM_TwoThreads)->Iterations(kSteps)->UseManualTime();

}  // namespace
}  // namespace trireme
