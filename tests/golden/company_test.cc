// An answer does not depend on who shares its batch: the tiny models' prompts, alone on one rank,
// against the same requests in company, arriving at random, whatever the mesh, the pieces that
// prompts are cut into, the prefix cache, the pages (so few that sequences are preempted) and
// speculation.
//
// The settings multiply to 288 a model. Each run takes a sample of them that changes every setting
// many times; TRIREME_EVERY_SETTING=1 runs them all (for minutes).
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <random>

#include "tests/golden/golden_case.h"
#include "tests/support/mesh_run.h"
#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

struct Setting {
  int requests = 1;
  int64_t max_step_tokens = 256;
  bool prefix_cache = true;
  bool few_pages = false;
  int64_t speculative_tokens = 0;
  int stages = 1;
  int shards = 1;

  std::string Name() const {
    return std::to_string(requests) + " requests, steps of " + std::to_string(max_step_tokens) +
           (prefix_cache ? ", prefix cache" : "") + (few_pages ? ", few pages" : "") + ", " +
           std::to_string(speculative_tokens) + " drafts, pp " + std::to_string(stages) + " tp " +
           std::to_string(shards);
  }
};

std::vector<Setting> EverySetting() {
  std::vector<Setting> settings;
  for (const int requests : {1, 7, 32}) {
    for (const int64_t step : {16, 64, 512}) {
      for (const bool cache : {true, false}) {
        for (const bool few : {true, false}) {
          for (const int64_t drafts : {0, 4}) {
            for (const int stages : {1, 2}) {
              for (const int shards : {1, 2}) {
                settings.push_back({requests, step, cache, few, drafts, stages, shards});
              }
            }
          }
        }
      }
    }
  }
  return settings;
}

// All, or a sample of them that differs from model to model.
std::vector<Setting> SettingsFor(unsigned model) {
  std::vector<Setting> settings = EverySetting();
  if (std::getenv("TRIREME_EVERY_SETTING") != nullptr) return settings;
  constexpr size_t kSample = 12;
  std::mt19937 random(model);
  std::shuffle(settings.begin(), settings.end(), random);
  settings.resize(kSample);
  return settings;
}

// More than the goldens have: sequences outgrow the pages that they began with.
constexpr int32_t kTokens = 72;

// Each prompt of the case, drawn from at different temperatures, under penalties, and led to repeat
// itself, as guesses from the text so far need it.
std::vector<Request> RequestsOf(const GoldenCase& golden) {
  std::vector<Request> requests;
  for (const GoldenPrompt& prompt : golden.prompts) {
    Request request;
    request.prompt = prompt.ids;
    request.max_tokens = kTokens;
    request.num_logprobs = 2;
    requests.push_back(request);
    request.sampling = {.temperature = 0.9F, .top_k = 40, .top_p = 0.95F, .seed = 17};
    requests.push_back(request);
    request.sampling = {.temperature = 0.7F,
                        .min_p = 0.02F,
                        .seed = 3,
                        .repetition_penalty = 1.2F,
                        .frequency_penalty = 0.3F,
                        .presence_penalty = 0.2F};
    request.sequence = 1;
    request.logit_bias = {{prompt.greedy[0], -2.5F}};
    requests.push_back(request);
    request.sampling = {.temperature = 0.6F, .seed = 8};
    request.logit_bias = {{prompt.greedy[0], 22.0F}};
    requests.push_back(std::move(request));
  }
  return requests;
}

std::vector<uint32_t> Bits(const std::vector<TokenEvent>& events) {
  std::vector<uint32_t> bits;
  const auto append = [&bits](float value) { bits.push_back(std::bit_cast<uint32_t>(value)); };
  for (const TokenEvent& event : events) {
    bits.push_back(event.index);
    bits.push_back(static_cast<uint32_t>(event.token.token));
    append(event.token.logprob);
    for (const int32_t token : event.token.top_tokens) {
      bits.push_back(static_cast<uint32_t>(token));
    }
    for (const float logprob : event.token.top_logprobs) append(logprob);
    bits.push_back(static_cast<uint32_t>(event.finish));
  }
  return bits;
}

std::vector<std::vector<uint32_t>> AloneOnOneRank(const std::string& model,
                                                  const std::vector<Request>& requests) {
  std::vector<std::vector<uint32_t>> answers;
  for (const Request& request : requests) {
    const auto events = RunOnMesh({.model = model, .prefix_cache = false}, {request});
    EXPECT_OK(events);
    answers.push_back(events.ok() ? Bits((*events)[0]) : std::vector<uint32_t>());
  }
  return answers;
}

// So many that the longest request runs, and hardly any beside it.
int64_t FewPages(const std::vector<Request>& requests) {
  const int64_t page_tokens = MeshRun{}.page_tokens;
  size_t longest = 0;
  for (const Request& request : requests) longest = std::max(longest, request.prompt.size());
  return (static_cast<int64_t>(longest) + kTokens + page_tokens - 1) / page_tokens;
}

MeshRun RunOf(const GoldenCase& golden, const std::vector<Request>& requests,
              const Setting& setting) {
  MeshRun run{.model = golden.model,
              .stages = setting.stages,
              .shards = setting.shards,
              .max_step_tokens = setting.max_step_tokens,
              .prefix_cache = setting.prefix_cache,
              .speculative_tokens = setting.speculative_tokens,
              .arrivals = Arrivals::kAtRandom};
  if (setting.few_pages) run.pages = FewPages(requests);
  return run;
}

class Company : public testing::TestWithParam<unsigned> {};

TEST_P(Company, NeverChangesAnAnswer) {
  const std::vector<GoldenCase> cases = AllGoldenCases();
  const GoldenCase& golden = cases[GetParam()];
  const std::vector<Request> requests = RequestsOf(golden);
  const auto alone = AloneOnOneRank(golden.model, requests);
  std::mt19937 random(99 + GetParam());
  uint64_t preemptions = 0;
  int64_t prefix_hits = 0;
  int64_t drafts_taken = 0;
  for (const Setting& setting : SettingsFor(GetParam())) {
    SCOPED_TRACE(golden.name + ": " + setting.Name());
    std::vector<size_t> chosen;
    std::vector<Request> company;
    for (int i = 0; i < setting.requests; ++i) {
      chosen.push_back(random() % requests.size());
      company.push_back(requests[chosen.back()]);
    }
    const auto outcome = RunMesh(RunOf(golden, requests, setting), company);
    ASSERT_OK(outcome);
    for (size_t i = 0; i < chosen.size(); ++i) {
      EXPECT_EQ(Bits(outcome->events[i]), alone[chosen[i]]) << "request " << i;
    }
    preemptions += outcome->status.counters.preemptions;
    prefix_hits += outcome->status.counters.prefix_hit_tokens;
    drafts_taken += outcome->status.counters.accepted_tokens;
  }
  // Otherwise the settings were not what they say.
  EXPECT_GT(preemptions, 0);
  EXPECT_GT(prefix_hits, 0);
  EXPECT_GT(drafts_taken, 0);
}

INSTANTIATE_TEST_SUITE_P(GoldenCases, Company,
                         testing::Range(0U, static_cast<unsigned>(AllGoldenCases().size())));

}  // namespace
}  // namespace trireme
