// The distributions of tests/data/sampling/cases.json, computed by transformers and vLLM from one
// row of logits under many parameter sets, with penalties for one history.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "nlohmann/json.hpp"
#include "runtime/sampling/sampler.h"
#include "tests/support/temp_directory.h"

namespace trireme {
namespace {

// How often each token of the prompt or the completion stands in the completion.
std::map<int32_t, int32_t> HistoryOf(const nlohmann::json& golden) {
  std::map<int32_t, int32_t> counts;
  for (const int32_t token : golden["prompt_tokens"]) counts[token] = 0;
  for (const int32_t token : golden["output_tokens"]) ++counts[token];
  return counts;
}

// The parameters of a case as a plan with one sample.
StepPlan PlanOf(const nlohmann::json& golden, const nlohmann::json& params) {
  StepPlan plan;
  for (const auto& [token, count] : HistoryOf(golden)) {
    plan.history_tokens.push_back(token);
    plan.history_counts.push_back(count);
  }
  SampleRow row{.params = {.temperature = 1}};
  row.history.count = static_cast<int32_t>(plan.history_tokens.size());
  const std::map<std::string, float*> floats = {
      {"temperature", &row.params.temperature},
      {"top_p", &row.params.top_p},
      {"min_p", &row.params.min_p},
      {"repetition_penalty", &row.params.repetition_penalty},
      {"frequency_penalty", &row.params.frequency_penalty},
      {"presence_penalty", &row.params.presence_penalty}};
  for (const auto& [name, value] : params.items()) {
    if (name == "top_k") {
      row.params.top_k = value;
    } else if (name == "logit_bias") {
      for (const auto& [token, bias] : value.items()) {
        plan.bias_tokens.push_back(std::stoi(token));
        plan.bias_values.push_back(bias);
      }
      row.biases.count = static_cast<int32_t>(plan.bias_tokens.size());
    } else {
      *floats.at(name) = value;
    }
  }
  plan.samples = {row};
  return plan;
}

TEST(SamplerGoldenTest, GivesTheReferenceDistributions) {
  const auto golden = nlohmann::json::parse(
      ReadWholeFile(std::string(TRIREME_SOURCE_DIR) + "/tests/data/sampling/cases.json"));
  const auto logits = golden["logits"].get<std::vector<float>>();
  int checked = 0;
  for (const auto& example : golden["cases"]) {
    SCOPED_TRACE(example["params"].dump());
    const StepPlan plan = PlanOf(golden, example["params"]);

    std::map<size_t, double> expected;
    const auto& probabilities = example["probs"];
    for (size_t i = 0; i < probabilities.size(); ++i) {
      expected[example["ids"] == "all" ? i : example["ids"][i].get<size_t>()] = probabilities[i];
    }
    const std::vector<float> actual = FilteredProbabilities(logits, plan, plan.samples[0]);
    ASSERT_EQ(actual.size(), logits.size());
    for (size_t id = 0; id < actual.size(); ++id) {
      const auto at = expected.find(id);
      const double probability = at == expected.end() ? 0.0 : at->second;
      EXPECT_NEAR(actual[id], probability, 1e-5) << id;
      // The support is exact; below 1e-30 a probability may vanish in fp32.
      if (probability == 0 || probability > 1e-30) {
        EXPECT_EQ(actual[id] > 0, probability > 0) << id;
      }
    }
    EXPECT_EQ(actual[example["argmax"].get<size_t>()],
              *std::max_element(actual.begin(), actual.end()));
    ++checked;
  }
  EXPECT_EQ(checked, 37);
}

}  // namespace
}  // namespace trireme
