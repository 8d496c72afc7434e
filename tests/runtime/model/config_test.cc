#include "runtime/model/config.h"

#include <gtest/gtest.h>

#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::string_view kSmall = R"("model_type": "llama", "hidden_size": 64,
  "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96, "vocab_size": 100)";

std::string Config(std::string_view more) {
  return "{" + std::string(kSmall) + std::string(more) + "}";
}

TEST(Config, AppliesTheDialectsDefaults) {
  const auto config = ConfigFromHuggingFace(Config(""), "", "config.json");
  ASSERT_OK(config);
  EXPECT_EQ(config->kv_heads, 4);
  EXPECT_EQ(config->head_dim, 16);
  EXPECT_FLOAT_EQ(config->rope.theta, 10'000);
  EXPECT_FALSE(config->tied_head);
  EXPECT_FALSE(config->rope.scaling.has_value());
}

TEST(Config, ReadsLegacyRopeScaling) {
  const auto config = ConfigFromHuggingFace(
      Config(R"(, "rope_theta": 500000.0, "rope_scaling": {"rope_type": "llama3", "factor": 8.0,
        "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64})"),
      "", "config.json");
  ASSERT_OK(config);
  EXPECT_FLOAT_EQ(config->rope.theta, 500'000);
  ASSERT_TRUE(config->rope.scaling.has_value());
  EXPECT_EQ(config->rope.scaling->original_max_positions, 64);
}

TEST(Config, ReadsNewRopeParameters) {
  const auto config = ConfigFromHuggingFace(
      Config(R"(, "rope_parameters": {"rope_type": "default", "rope_theta": 1234.0})"), "",
      "config.json");
  ASSERT_OK(config);
  EXPECT_FLOAT_EQ(config->rope.theta, 1234);
}

TEST(Config, TakesStopTokensFromTheGenerationConfigFirst) {
  const auto config = ConfigFromHuggingFace(Config(R"(, "eos_token_id": 2, "bos_token_id": 1)"),
                                            R"({"eos_token_id": [7, 9]})", "config.json");
  ASSERT_OK(config);
  EXPECT_THAT(config->stop_tokens, ElementsAre(7, 9));
  EXPECT_EQ(config->bos, 1);
}

TEST(Config, RefusesBadValuesByName) {
  const struct {
    std::string_view json;
    std::string_view why;
  } cases[] = {
      {R"(, "num_key_value_heads": 3)", "KV heads must divide"},
      {R"(, "num_key_value_heads": 0)", "num_key_value_heads"},
      {R"(, "head_dim": 15)", "even"},
      {R"(, "head_dim": -2)", "head_dim"},
      {R"(, "head_dim": 18446744073709551615)", "head_dim"},
      {R"(, "rms_norm_eps": 0)", "rms_norm_eps"},
      {R"(, "rms_norm_eps": "small")", "rms_norm_eps"},
      {R"(, "tie_word_embeddings": 1)", "tie_word_embeddings"},
      {R"(, "eos_token_id": 100)", "eos_token_id"},
      {R"(, "rope_scaling": [1])", "rope_scaling"},
      {R"(, "rope_theta": 1e999)", "config.json"},
  };
  for (const auto& bad : cases) {
    EXPECT_THAT(ConfigFromHuggingFace(Config(bad.json), "", "config.json"),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(std::string(bad.why))))
        << bad.json;
  }
  EXPECT_THAT(ConfigFromHuggingFace("[]", "", "config.json"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not a JSON object")));
  EXPECT_THAT(ConfigFromHuggingFace(R"({"model_type": "llama"})", "", "config.json"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("hidden_size")));
}

TEST(Config, RefusesWhatItWouldComputeWrongly) {
  for (const std::string_view more :
       {R"(, "attention_bias": true)", R"(, "mlp_bias": true)", R"(, "hidden_act": "gelu")",
        R"(, "rope_scaling": {"type": "yarn", "factor": 4})",
        R"(, "quantization_config": {"quant_method": "gptq"})"}) {
    EXPECT_THAT(ConfigFromHuggingFace(Config(more), "", "config.json"),
                StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("config.json")))
        << more;
  }
}

}  // namespace
}  // namespace trireme
