// The distributions of tests/data/sampling/cases.json, computed by transformers and vLLM from one
// row of logits under many parameter sets.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "nlohmann/json.hpp"
#include "runtime/sampling/sampler.h"
#include "tests/support/temp_directory.h"

namespace trireme {
namespace {

TEST(SamplerGoldenTest, GivesTheReferenceDistributions) {
  const auto golden = nlohmann::json::parse(
      ReadWholeFile(std::string(TRIREME_SOURCE_DIR) + "/tests/data/sampling/cases.json"));
  const auto logits = golden["logits"].get<std::vector<float>>();
  const std::set<std::string> known = {"temperature", "top_k", "top_p", "min_p"};
  int checked = 0;
  for (const auto& example : golden["cases"]) {
    SCOPED_TRACE(example["params"].dump());
    SamplingParams params{.temperature = 1};
    bool supported = true;
    for (const auto& [name, value] : example["params"].items()) supported &= known.contains(name);
    if (!supported) continue;  // logit_bias and penalties
    params.temperature = example["params"].value("temperature", 1.0F);
    params.top_k = example["params"].value("top_k", 0);
    params.top_p = example["params"].value("top_p", 1.0F);
    params.min_p = example["params"].value("min_p", 0.0F);

    std::map<size_t, double> expected;
    const auto& probabilities = example["probs"];
    for (size_t i = 0; i < probabilities.size(); ++i) {
      expected[example["ids"] == "all" ? i : example["ids"][i].get<size_t>()] = probabilities[i];
    }
    const std::vector<float> actual = FilteredProbabilities(logits, params);
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
  EXPECT_EQ(checked, 22);
}

}  // namespace
}  // namespace trireme
