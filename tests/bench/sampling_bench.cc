// One step's sampling: 64 rows of logits of Llama 4's vocabulary, by setting, on one shard and on
// the eighth of the vocabulary that a shard of eight has. What the exchanges between shards take is
// not in it; their number and their bytes from each shard are.
//
//   sampling_bench [Google Benchmark's flags]
#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "benchmark/benchmark.h"
#include "runtime/base/check.h"
#include "runtime/base/thread_pool.h"
#include "runtime/sampling/shard_sampler.h"

namespace trireme {
namespace {

constexpr int64_t kVocabulary = 202'048;
constexpr int32_t kRows = 64;
constexpr int32_t kHistory = 1000;

struct Setting {
  const char* name;
  SamplingParams params;
  int32_t num_logprobs = -1;
  bool masked = false;
};

const Setting kSettings[] = {
    {"greedy", {}},
    {"greedy_logprobs_5", {}, 5},
    {"greedy_penalties", {.repetition_penalty = 1.1F, .frequency_penalty = 0.3F}},
    {"temperature", {.temperature = 0.8F}},
    {"top_k_50", {.temperature = 0.8F, .top_k = 50}},
    {"top_k_1000", {.temperature = 0.8F, .top_k = 1000}},
    {"top_p", {.temperature = 0.8F, .top_p = 0.9F}},
    {"top_k_50_top_p", {.temperature = 0.8F, .top_k = 50, .top_p = 0.9F}},
    {"top_p_penalties",
     {.temperature = 0.8F, .top_p = 0.9F, .repetition_penalty = 1.1F, .frequency_penalty = 0.3F}},
    {"top_p_mask", {.temperature = 0.8F, .top_p = 0.9F}, -1, true},
};

// As models give them: most tokens far below a few.
std::vector<float> Logits(int64_t tokens, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0, 2.2F);
  std::vector<float> logits(static_cast<size_t>(tokens));
  for (float& logit : logits) logit = normal(random);
  for (int i = 0; i < 20; ++i) logits[random() % logits.size()] += 8;
  return logits;
}

StepPlan PlanOf(const Setting& setting, int64_t vocabulary) {
  std::mt19937_64 random(1);
  StepPlan plan;
  for (int32_t i = 0; i < kRows * kHistory; ++i) {
    plan.history_tokens.push_back(
        static_cast<int32_t>(random() % static_cast<uint64_t>(vocabulary)));
    plan.history_counts.push_back(static_cast<int32_t>(random() % 3));
  }
  plan.masks.resize(static_cast<size_t>(MaskWords(vocabulary)));
  for (uint32_t& word : plan.masks) word = static_cast<uint32_t>(random());
  for (int32_t row = 0; row < kRows; ++row) {
    SampleRow sample{.row = row, .num_logprobs = setting.num_logprobs, .params = setting.params};
    sample.params.seed = static_cast<uint64_t>(row);
    sample.history = {row * kHistory, kHistory};
    if (setting.masked) sample.mask = 0;
    plan.samples.push_back(sample);
  }
  return plan;
}

class CountingExchange final : public ShardExchange {
 public:
  int shard() const override { return 0; }
  int shards() const override { return 1; }
  absl::Status Gather(std::span<const uint64_t> mine, std::span<uint64_t> all,
                      std::string_view what) override {
    ++exchanges;
    words += static_cast<int64_t>(mine.size());
    return SoloExchange().Gather(mine, all, what);
  }
  int64_t exchanges = 0;
  int64_t words = 0;
};

void RunSampling(benchmark::State& state, const Setting& setting, int64_t tokens, int threads) {
  std::vector<std::vector<float>> rows;
  std::vector<const float*> logits;
  for (int32_t row = 0; row < kRows; ++row) {
    rows.push_back(Logits(tokens, static_cast<uint64_t>(row)));
    logits.push_back(rows.back().data());
  }
  const StepPlan plan = PlanOf(setting, tokens);
  std::vector<std::byte> work(static_cast<size_t>(kRows * tokens) * sizeof(float));
  ThreadPool pool(threads);
  ShardSampler sampler({.vocabulary = tokens, .begin = 0, .end = tokens});
  CountingExchange exchange;
  std::vector<SampledToken> results;
  for (auto _ : state) {
    results.clear();
    TRI_CHECK_OK(
        sampler.Sample({.plan = plan, .samples = plan.samples, .logits = logits, .work = work},
                       exchange, &pool, results));
  }
  const auto steps = static_cast<double>(state.iterations());
  state.counters["exchanges"] = static_cast<double>(exchange.exchanges) / steps;
  state.counters["bytes"] = 8 * static_cast<double>(exchange.words) / steps;
}

void RegisterAll() {
  for (const Setting& setting : kSettings) {
    for (const int64_t shards : {1, 8}) {
      for (const int threads : {1, 2}) {
        const std::string name = std::string("Sample/") + setting.name +
                                 "/shards:" + std::to_string(shards) +
                                 "/threads:" + std::to_string(threads);
        benchmark::RegisterBenchmark(name.c_str(),
                                     [&setting, shards, threads](auto& state) {
                                       RunSampling(state, setting, kVocabulary / shards, threads);
                                     })
            ->UseRealTime()
            ->Unit(benchmark::kMillisecond);
      }
    }
  }
}

}  // namespace
}  // namespace trireme

int main(int argc, char** argv) {
  trireme::RegisterAll();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
