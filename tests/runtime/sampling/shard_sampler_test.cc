#include "runtime/sampling/shard_sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <barrier>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "runtime/sampling/mass_kernel.h"
#include "runtime/sampling/philox.h"
#include "runtime/sampling/sampler.h"
#include "tests/runtime/sampling/chi_square.h"
#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Shards that are threads, which meet at every exchange.
class Meeting {
 public:
  explicit Meeting(int shards) : barrier_(shards), words_(static_cast<size_t>(shards)) {}

  // One's part; counts the exchanges and the words that it gives.
  class Seat final : public ShardExchange {
   public:
    Seat(Meeting& meeting, int shard) : meeting_(meeting), shard_(shard) {}
    int shard() const override { return shard_; }
    int shards() const override { return static_cast<int>(meeting_.words_.size()); }
    absl::Status Gather(std::span<const uint64_t> mine, std::span<uint64_t> all,
                        std::string_view) override {
      ++exchanges;
      words += mine.size();
      meeting_.words_[static_cast<size_t>(shard_)] = mine;
      meeting_.barrier_.arrive_and_wait();
      auto at = all.begin();
      for (const auto& theirs : meeting_.words_) {
        EXPECT_EQ(theirs.size(), mine.size());
        at = std::copy(theirs.begin(), theirs.end(), at);
      }
      EXPECT_EQ(at, all.end());
      meeting_.barrier_.arrive_and_wait();
      return absl::OkStatus();
    }
    int exchanges = 0;
    size_t words = 0;

   private:
    Meeting& meeting_;
    const int shard_;
  };

 private:
  std::barrier<> barrier_;
  std::vector<std::span<const uint64_t>> words_;
};

// Rows of logits, and a plan whose samples are of them.
struct Problem {
  StepPlan plan;
  std::vector<std::vector<float>> rows;

  int64_t vocabulary() const { return static_cast<int64_t>(rows[0].size()); }
};

struct Solution {
  std::vector<SampledToken> tokens;
  int exchanges = 0;
  size_t words = 0;  // of one shard
};

// ends: of each shard's slice.
Solution Solve(const Problem& problem, const std::vector<int64_t>& ends,
               ThreadPool* pool = nullptr) {
  Meeting meeting(static_cast<int>(ends.size()));
  std::vector<Solution> solutions(ends.size());
  std::vector<std::jthread> threads;
  for (size_t shard = 0; shard < ends.size(); ++shard) {
    threads.emplace_back([&, shard] {
      const int64_t begin = shard == 0 ? 0 : ends[shard - 1];
      ShardSampler sampler(
          {.vocabulary = problem.vocabulary(), .begin = begin, .end = ends[shard]});
      Meeting::Seat seat(meeting, static_cast<int>(shard));
      std::vector<const float*> logits;
      for (const SampleRow& sample : problem.plan.samples) {
        logits.push_back(problem.rows[static_cast<size_t>(sample.row)].data() + begin);
      }
      std::vector<std::byte> work(logits.size() * static_cast<size_t>(ends[shard] - begin) * 4);
      EXPECT_OK(sampler.Sample(
          {.plan = problem.plan, .samples = problem.plan.samples, .logits = logits, .work = work},
          seat, pool, solutions[shard].tokens));
      solutions[shard].exchanges = seat.exchanges;
      solutions[shard].words = seat.words;
    });
  }
  threads.clear();
  for (size_t shard = 1; shard < ends.size(); ++shard) {
    EXPECT_TRUE(solutions[shard].tokens.empty());
  }
  return solutions[0];
}

std::vector<int64_t> EvenSlices(int64_t vocabulary, int64_t shards) {
  std::vector<int64_t> ends;
  for (int64_t shard = 1; shard <= shards; ++shard) ends.push_back(vocabulary * shard / shards);
  return ends;
}

void ExpectSame(const Solution& actual, const Solution& expected) {
  ASSERT_EQ(actual.tokens.size(), expected.tokens.size());
  for (size_t i = 0; i < actual.tokens.size(); ++i) {
    const SampledToken& a = actual.tokens[i];
    const SampledToken& b = expected.tokens[i];
    EXPECT_EQ(a.finite, b.finite) << i;
    EXPECT_EQ(a.all_banned, b.all_banned) << i;
    EXPECT_EQ(a.token, b.token) << i;
    EXPECT_EQ(std::bit_cast<uint32_t>(a.logprob), std::bit_cast<uint32_t>(b.logprob)) << i;
    EXPECT_EQ(a.top_tokens, b.top_tokens) << i;
    EXPECT_EQ(a.top_logprobs, b.top_logprobs) << i;
  }
}

template <typename T>
T Pick(std::mt19937_64& random, std::initializer_list<T> choices) {
  return choices.begin()[random() % choices.size()];
}

std::vector<float> RandomLogits(size_t size, float spread, std::mt19937_64& random) {
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> logits(size);
  for (float& logit : logits) logit = normal(random);
  return logits;
}

// A sample with some of everything, and what it names in the plan.
SampleRow RandomSample(std::mt19937_64& random, int64_t vocabulary, StepPlan& plan) {
  SampleRow sample{.num_logprobs = Pick(random, {-1, -1, 0, 1, 5, 200}),
                   .sequence = static_cast<uint32_t>(random() % 3),
                   .draw = static_cast<uint32_t>(random() % 1000)};
  sample.params = {.temperature = Pick(random, {0.0F, 0.3F, 1.0F, 1.0F, 3.0F, 2e-5F}),
                   .top_k = Pick(random, {0, 0, 1, 4, 128, 129, 2000}),
                   .top_p = Pick(random, {1.0F, 1.0F, 0.999999F, 0.9F, 0.5F, 0.01F}),
                   .min_p = Pick(random, {0.0F, 0.0F, 0.02F, 0.5F, 1.0F}),
                   .seed = random()};
  const auto token = [&] {
    return static_cast<int32_t>(random() % static_cast<uint64_t>(vocabulary));
  };
  if (random() % 5 == 0) sample.target = token();
  if (random() % 2 == 0) {
    sample.params.repetition_penalty = Pick(random, {0.5F, 1.0F, 1.3F});
    sample.params.frequency_penalty = Pick(random, {0.0F, -0.5F, 1.0F});
    sample.params.presence_penalty = Pick(random, {0.0F, 0.7F});
    sample.history = {static_cast<int32_t>(plan.history_tokens.size()), 20};
    for (int i = 0; i < 20; ++i) {
      plan.history_tokens.push_back(token());
      plan.history_counts.push_back(static_cast<int32_t>(random() % 4));
    }
  }
  if (random() % 2 == 0) {
    sample.biases = {static_cast<int32_t>(plan.bias_tokens.size()), 10};
    for (int i = 0; i < 10; ++i) {
      plan.bias_tokens.push_back(token());
      plan.bias_values.push_back(
          Pick(random, {-std::numeric_limits<float>::infinity(), 2.0F, -100.0F}));
    }
  }
  if (random() % 3 == 0) {
    const auto words = static_cast<size_t>(MaskWords(vocabulary));
    sample.mask = static_cast<int32_t>(plan.masks.size() / words);
    const uint64_t kind = random() % 3;
    for (size_t word = 0; word < words; ++word) {
      const auto bits = static_cast<uint32_t>(random());
      plan.masks.push_back(kind == 0 ? bits : kind == 1 ? (word == 0 ? 6 : 0) : ~0U);
    }
  }
  return sample;
}

Problem RandomProblem(uint64_t seed) {
  std::mt19937_64 random(seed);
  const int64_t vocabulary = Pick(random, {8, 9, 40, 257, 1200, 4999});
  const float spread = Pick(random, {0.1F, 1.0F, 3.0F, 20.0F});
  Problem problem;
  for (int32_t row = 0; row < 4; ++row) {
    problem.rows.push_back(RandomLogits(static_cast<size_t>(vocabulary), spread, random));
    for (float& logit : problem.rows.back()) {
      if (seed % 3 == 0) logit = std::round(logit);        // many ties
      if (seed % 7 == 0) logit = row == 1 ? -0.0F : 0.0F;  // nothing else
    }
    if (random() % 8 == 0) problem.rows.back()[random() % 8] = std::nanf("");
    for (int i = 0; i < 8; ++i) {
      problem.plan.samples.push_back(RandomSample(random, vocabulary, problem.plan));
      problem.plan.samples.back().row = row;
    }
  }
  return problem;
}

TEST(ShardSamplerTest, GivesTheSameBytesHoweverTheVocabularyIsCut) {
  for (uint64_t seed = 0; seed < 120; ++seed) {
    SCOPED_TRACE(seed);
    const Problem problem = RandomProblem(seed);
    const int64_t vocabulary = problem.vocabulary();
    const Solution alone = Solve(problem, {vocabulary});
    for (const int64_t shards : {2, 4, 8}) {
      ExpectSame(Solve(problem, EvenSlices(vocabulary, shards)), alone);
    }
    ExpectSame(Solve(problem, {1, 2, vocabulary - 3, vocabulary}), alone);
    if (HasFailure()) break;
  }
}

TEST(ShardSamplerTest, GivesTheSameBytesHoweverManyThreadsAShardHas) {
  ThreadPool pool(3);
  for (uint64_t seed = 200; seed < 220; ++seed) {
    const Problem problem = RandomProblem(seed);
    ExpectSame(Solve(problem, {problem.vocabulary()}, &pool),
               Solve(problem, {problem.vocabulary()}));
  }
}

TEST(ShardSamplerTest, GivesEachSampleWhatItGetsAlone) {
  for (uint64_t seed = 300; seed < 330; ++seed) {
    const Problem problem = RandomProblem(seed);
    const Solution together = Solve(problem, EvenSlices(problem.vocabulary(), 2));
    Solution lone;
    for (const SampleRow& sample : problem.plan.samples) {
      lone.tokens.push_back(
          Sample(problem.rows[static_cast<size_t>(sample.row)], problem.plan, sample));
    }
    ExpectSame(together, lone);
  }
}

Problem Samples(const std::vector<SamplingParams>& params, int64_t vocabulary, int each) {
  std::mt19937_64 random(5);
  Problem problem;
  problem.rows.push_back(RandomLogits(static_cast<size_t>(vocabulary), 2, random));
  for (const SamplingParams& one : params) {
    problem.plan.samples.insert(problem.plan.samples.end(), static_cast<size_t>(each),
                                SampleRow{.params = one});
  }
  return problem;
}

TEST(ShardSamplerTest, ExchangesAsOftenForManySamplesAsForOne) {
  const SamplingParams greedy;
  const SamplingParams warm{.temperature = 1};
  const SamplingParams top_k{.temperature = 1, .top_k = 50};
  const SamplingParams nucleus{.temperature = 1, .top_p = 0.9F};
  const SamplingParams long_top_k{.temperature = 1, .top_k = 1000};
  const auto solve = [](const std::vector<SamplingParams>& params, int each) {
    return Solve(Samples(params, 3000, each), EvenSlices(3000, 4));
  };
  EXPECT_EQ(solve({greedy}, 64).exchanges, 1);
  EXPECT_EQ(solve({greedy}, 64).words, 2U * 64);
  EXPECT_EQ(solve({warm}, 64).exchanges, 3);
  EXPECT_EQ(solve({top_k}, 64).exchanges, 3);
  EXPECT_EQ(solve({nucleus}, 64).exchanges, 6);
  EXPECT_EQ(solve({long_top_k}, 64).exchanges, 7);
  EXPECT_EQ(solve({greedy, warm, top_k, nucleus, long_top_k}, 1).exchanges, 10);
  EXPECT_EQ(solve({greedy, warm, top_k, nucleus, long_top_k}, 20).exchanges, 10);
}

// A row in which only the first few tokens of a tie fit into top_p, on two of four shards.
TEST(ShardSamplerTest, KeepsTheLowestIdsOfATieThatTopPCuts) {
  Problem problem;
  problem.rows.emplace_back(40, 1.0F);
  for (uint32_t draw = 0; draw < 500; ++draw) {
    problem.plan.samples.push_back(
        {.draw = draw, .params = {.temperature = 1, .top_p = 0.375F, .seed = 3}});
  }
  std::array<int, 40> counts{};
  for (const auto& token : Solve(problem, EvenSlices(40, 4)).tokens) ++counts[token.token];
  for (size_t id = 0; id < counts.size(); ++id) EXPECT_EQ(counts[id] > 0, id < 15) << id;
}

// The drawn token is where the cumulative distribution passes the uniform number.
TEST(ShardSamplerTest, InvertsTheCumulativeDistribution) {
  for (uint64_t seed = 400; seed < 460; ++seed) {
    const Problem problem = RandomProblem(seed);
    const Solution solution = Solve(problem, EvenSlices(problem.vocabulary(), 8));
    for (size_t i = 0; i < problem.plan.samples.size(); ++i) {
      const SampleRow& sample = problem.plan.samples[i];
      if (!solution.tokens[i].finite || sample.target >= 0) continue;
      const std::vector<float> probabilities = FilteredProbabilities(
          problem.rows[static_cast<size_t>(sample.row)], problem.plan, sample);
      double below = 0;
      for (int32_t id = 0; id < solution.tokens[i].token; ++id) {
        below += static_cast<double>(probabilities[id]);
      }
      const double own = static_cast<double>(probabilities[solution.tokens[i].token]);
      const double uniform = UniformDraw(sample.params.seed, sample.sequence, sample.draw);
      ASSERT_GT(own, 0) << "seed " << seed << " sample " << i;
      if (sample.params.temperature < kGreedyTemperature) continue;
      ASSERT_GE(uniform, below - 1e-5) << "seed " << seed << " sample " << i;
      ASSERT_LE(uniform, below + own + 1e-5) << "seed " << seed << " sample " << i;
    }
  }
}

// 100,000 draws on two shards against FilteredProbabilities; the bound is mean + 6 standard
// deviations of a chi-square.
class DrawsFromTheDistribution : public testing::TestWithParam<SamplingParams> {};

TEST_P(DrawsFromTheDistribution, OnShards) {
  constexpr int kDraws = 100'000;
  std::mt19937_64 random(8);
  Problem problem;
  problem.rows.push_back(RandomLogits(60, 1.5F, random));
  for (int32_t token = 0; token < 60; token += 5) {
    problem.plan.history_tokens.push_back(token);
    problem.plan.history_counts.push_back(token % 3);
  }
  problem.plan.samples.resize(1000, {.history = {0, 12}, .params = GetParam()});
  std::array<int, 60> counts{};
  for (uint32_t draw = 0; draw < kDraws;) {
    for (SampleRow& sample : problem.plan.samples) sample.draw = draw++;
    for (const auto& token : Solve(problem, {7, 60}).tokens) ++counts[token.token];
  }
  const std::vector<float> probabilities =
      FilteredProbabilities(problem.rows[0], problem.plan, problem.plan.samples[0]);
  ExpectDrawnFrom(probabilities, counts, /*least_bins=*/6);
}

INSTANTIATE_TEST_SUITE_P(
    Settings, DrawsFromTheDistribution,
    testing::Values(SamplingParams{.temperature = 1, .seed = 21},
                    SamplingParams{.temperature = 0.9F, .top_k = 40, .top_p = 0.95F, .seed = 22},
                    SamplingParams{.temperature = 1.3F,
                                   .min_p = 0.02F,
                                   .seed = 23,
                                   .repetition_penalty = 1.2F,
                                   .frequency_penalty = 0.3F,
                                   .presence_penalty = 0.4F}));

class BrokenExchange final : public ShardExchange {
 public:
  explicit BrokenExchange(int good) : good_(good) {}
  int shard() const override { return 0; }
  int shards() const override { return 1; }
  absl::Status Gather(std::span<const uint64_t> mine, std::span<uint64_t> all,
                      std::string_view what) override {
    if (good_-- == 0) return absl::UnavailableError("rank 1 is late for " + std::string(what));
    return SoloExchange().Gather(mine, all, what);
  }

 private:
  int good_;
};

TEST(ShardSamplerTest, EndsWithTheFirstErrorOfAnExchange) {
  const Problem problem = Samples({{.temperature = 1, .top_k = 1000, .top_p = 0.9F}}, 3000, 2);
  ShardSampler sampler({.vocabulary = 3000, .begin = 0, .end = 3000});
  const std::vector<const float*> logits(2, problem.rows[0].data());
  std::vector<std::byte> work(2 * 3000 * 4);
  const SampleBatch batch{problem.plan, problem.plan.samples, logits, work};
  for (int good = 0; good < 10; ++good) {
    BrokenExchange exchange(good);
    std::vector<SampledToken> results;
    EXPECT_THAT(sampler.Sample(batch, exchange, nullptr, results),
                StatusIs(absl::StatusCode::kUnavailable, HasSubstr("rank 1 is late")));
    EXPECT_TRUE(results.empty());
  }
  BrokenExchange whole(10);
  std::vector<SampledToken> results;
  EXPECT_OK(sampler.Sample(batch, whole, nullptr, results));
  EXPECT_EQ(results.size(), 2U);
}

TEST(CandidateTest, OrdersByLogitAndThenByLowerId) {
  constexpr float kMost = std::numeric_limits<float>::max();
  const std::vector<float> ascending = {-kMost, -1, -1e-40F, 0, 1e-40F, 1, kMost};
  for (size_t i = 0; i < ascending.size(); ++i) {
    const Candidate candidate = MakeCandidate(ascending[i], 7);
    EXPECT_EQ(LogitOf(candidate), ascending[i]);
    EXPECT_EQ(IdOf(candidate), 7);
    EXPECT_LT(MakeCandidate(ascending[i], 8), candidate);
    if (i == 0) continue;
    EXPECT_GT(MakeCandidate(ascending[i], 900'000), MakeCandidate(ascending[i - 1], 0));
  }
  EXPECT_EQ(MakeCandidate(-0.0F, 3), MakeCandidate(0.0F, 3));
  EXPECT_GT(MakeCandidate(-kMost, 900'000), kNoCandidate);
}

TEST(MassTest, FallsFromOneToNothing) {
  EXPECT_EQ(MassOf(0), uint64_t{1} << 44);
  EXPECT_EQ(MassOf(kMostSteps), 0U);
  EXPECT_EQ(ToSteps(std::numeric_limits<double>::infinity()), kMostSteps);
  uint64_t before = MassOf(0);
  for (uint64_t steps = 0; steps <= kMostSteps; steps += (uint64_t{1} << 20) + 1) {
    const uint64_t mass = MassOf(static_cast<uint32_t>(steps));
    EXPECT_LE(mass, before);
    EXPECT_NEAR(static_cast<double>(mass),
                std::ldexp(std::exp(-std::ldexp(static_cast<double>(steps), -27)), 44), 0.51);
    before = mass;
  }
}

// At the vector width of this machine; PortableExp's own bits are fixed by its test.
TEST(MassTest, OfManyIsThatOfEach) {
  std::mt19937_64 random(12);
  std::uniform_real_distribution<double> uniform(-40, 0);
  std::vector<double> exponents = {0, -0.0, -31.19, -31.2, -707.9, -708.1, -1e6, -1e300};
  while (exponents.size() < 4096) exponents.push_back(uniform(random));
  std::vector<uint64_t> masses(exponents.size());
  MassesOf(exponents.data(), exponents.size(), masses.data());
  for (size_t i = 0; i < masses.size(); ++i) {
    EXPECT_EQ(masses[i], ToMass(PortableExp(exponents[i]))) << exponents[i];
  }
  EXPECT_EQ(MassOf(kNoMassSteps), 0U);
}

}  // namespace
}  // namespace trireme
