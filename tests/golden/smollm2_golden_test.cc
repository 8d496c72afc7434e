// The real model, SmolLM2-135M-Instruct as its GGUF ships it, against the reference implementation.
// Skipped, saying so, where scripts/fetch_models.sh has not fetched the file.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/golden/golden_case.h"
#include "tests/support/mesh_run.h"
#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

constexpr float kLogitTolerance = 5e-3F;

std::string ModelPath() {
  return std::string(TRIREME_SOURCE_DIR) + "/.cache/models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";
}
std::string DataPath() { return std::string(TRIREME_SOURCE_DIR) + "/tests/data/smollm2"; }

class RealModelGolden : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(ModelPath())) {
      GTEST_SKIP() << "SmolLM2 is not here; run scripts/fetch_models.sh";
    }
  }

  static std::vector<Request> Requests(const GoldenCase& golden) {
    std::vector<Request> requests;
    for (const GoldenPrompt& prompt : golden.prompts) {
      Request request;
      request.prompt = prompt.ids;
      request.max_tokens = static_cast<int32_t>(prompt.greedy.size());
      request.num_logprobs = 3;
      request.want_logits = true;
      requests.push_back(std::move(request));
    }
    return requests;
  }
};

TEST_F(RealModelGolden, EveryMeshGivesTheReferenceTokensAndTheSameBytes) {
  const GoldenCase golden = LoadGoldenCase(DataPath(), "");
  std::vector<std::vector<TokenEvent>> alone;
  for (const auto& [stages, shards] :
       std::vector<std::pair<int, int>>{{1, 1}, {1, 2}, {2, 1}, {1, 4}}) {
    SCOPED_TRACE(testing::Message() << "pp=" << stages << " tp=" << shards);
    const auto events =
        RunOnMesh({.model = ModelPath(), .stages = stages, .shards = shards}, Requests(golden));
    ASSERT_OK(events);
    if (alone.empty()) alone = *events;
    for (size_t i = 0; i < golden.prompts.size(); ++i) {
      const GoldenPrompt& prompt = golden.prompts[i];
      const auto logits = golden.Logits(prompt.index, "logits_last");
      ASSERT_EQ((*events)[i].size(), prompt.greedy.size());
      for (size_t token = 0; token < logits[0].size(); ++token) {
        ASSERT_NEAR((*events)[i][0].token.logits[token], logits[0][token], kLogitTolerance);
      }
      for (size_t step = 0; step < prompt.greedy.size(); ++step) {
        const SampledToken& got = (*events)[i][step].token;
        EXPECT_EQ(got.token, prompt.greedy[step]) << "prompt " << i << " step " << step;
        EXPECT_NEAR(got.logprob, prompt.logprobs[step], kLogitTolerance);
        EXPECT_EQ(got.logits, alone[i][step].token.logits) << "prompt " << i << " step " << step;
        EXPECT_EQ(got.top_logprobs, alone[i][step].token.top_logprobs);
      }
    }
  }
}

TEST_F(RealModelGolden, PerplexityIsTheReferences) {
  std::ifstream file(DataPath() + "/perplexity.json");
  const nlohmann::json golden = nlohmann::json::parse(file, nullptr, false);
  ASSERT_TRUE(golden.is_object());
  Request request;
  request.prompt = golden["ids"].get<std::vector<int32_t>>();
  request.max_tokens = 1;
  request.prompt_logprobs = true;
  const auto events = RunOnMesh({.model = ModelPath(), .positions = 2048}, {request});
  ASSERT_OK(events);
  double nll = 0;
  int scored = 0;
  for (const TokenEvent& event : (*events)[0]) {
    if (!event.is_prompt) continue;
    nll -= static_cast<double>(event.token.logprob);
    ++scored;
  }
  EXPECT_EQ(scored, golden["n_predicted"].get<int>());
  EXPECT_NEAR(nll / scored, golden["mean_nll_fp32"].get<double>(), 1e-4);
}

}  // namespace
}  // namespace trireme
