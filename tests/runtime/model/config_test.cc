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

constexpr std::string_view kLlama4 = R"("model_type": "llama4_text", "hidden_size": 64,
  "num_hidden_layers": 8, "num_attention_heads": 4, "intermediate_size": 32,
  "intermediate_size_mlp": 96, "vocab_size": 100, "num_local_experts": 4)";

std::string Llama4(std::string_view more) {
  return "{" + std::string(kLlama4) + std::string(more) + "}";
}

std::vector<int> LayersThat(const ModelConfig& config, bool (*is)(const LayerKind&)) {
  std::vector<int> layers;
  for (size_t i = 0; i < config.layer_kinds.size(); ++i) {
    if (is(config.layer_kinds[i])) layers.push_back(static_cast<int>(i));
  }
  return layers;
}

TEST(Llama4Config, AppliesTheFamilysDefaults) {
  const auto config = ConfigFromHuggingFace(Llama4(R"(, "interleave_moe_layer_step": 2)"), "", "c");
  ASSERT_OK(config);
  EXPECT_EQ(config->intermediate, 96);
  EXPECT_EQ(config->experts->width, 32);
  EXPECT_EQ(config->experts->per_token, 1);
  EXPECT_FALSE(config->experts->scaled);
  EXPECT_EQ(config->rope.style, RopeStyle::kInterleaved);
  EXPECT_THAT(LayersThat(*config, [](const LayerKind& k) { return k.routed; }),
              ElementsAre(1, 3, 5, 7));
  EXPECT_THAT(LayersThat(*config, [](const LayerKind& k) { return !k.rope; }), ElementsAre(3, 7));
  EXPECT_EQ(config->layer_kinds[0].chunk, 8192);
  EXPECT_EQ(config->layer_kinds[3].chunk, 0);
  EXPECT_FLOAT_EQ(config->query_growth->floor_scale, 8192);
  EXPECT_TRUE(config->normed_qk);
}

TEST(Llama4Config, ListsOfLayersWinOverPatterns) {
  const auto config = ConfigFromHuggingFace(
      Llama4(R"(, "no_rope_layers": [1, 0, 1, 1, 1, 1, 1, 1], "moe_layers": [2, 6],
        "interleave_moe_layer_step": 1, "attention_chunk_size": null, "attn_temperature_tuning": 0)"),
      "", "c");
  ASSERT_OK(config);
  EXPECT_THAT(LayersThat(*config, [](const LayerKind& k) { return k.routed; }), ElementsAre(2, 6));
  EXPECT_THAT(LayersThat(*config, [](const LayerKind& k) { return !k.rope; }), ElementsAre(1));
  EXPECT_THAT(LayersThat(*config, [](const LayerKind& k) { return k.chunk != 0; }), ElementsAre());
  EXPECT_FALSE(config->query_growth.has_value());
}

TEST(Llama4Config, FindsTheLanguageModelOfAMultimodalOne) {
  const auto config = ConfigFromHuggingFace(
      R"({"model_type": "llama4", "eos_token_id": [3, 4], "text_config": )" + Llama4("") + "}", "",
      "c");
  ASSERT_OK(config);
  EXPECT_EQ(config->tensor_prefix, "language_model.");
  EXPECT_EQ(config->hidden, 64);
  EXPECT_THAT(config->stop_tokens, ElementsAre(3, 4));
}

TEST(Llama4Config, KnowsTheFormsOfFp8Experts) {
  const auto form = [](std::string_view quantization) {
    return ConfigFromHuggingFace(
        Llama4(R"(, "quantization_config": {)" + std::string(quantization) + "}"), "", "c");
  };
  const auto separate =
      form(R"("quant_method": "compressed-tensors", "format": "float-quantized")");
  ASSERT_OK(separate);
  EXPECT_EQ(separate->experts->form, ExpertForm::kSeparate);
  EXPECT_TRUE(separate->experts->scaled);
  const auto fused = form(R"("quant_method": "fbgemm_fp8")");
  ASSERT_OK(fused);
  EXPECT_EQ(fused->experts->form, ExpertForm::kFused);
  EXPECT_TRUE(fused->experts->scaled);
  EXPECT_THAT(form(R"("quant_method": "compressed-tensors", "format": "pack-quantized")"),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("pack-quantized")));
  EXPECT_THAT(form(R"("quant_method": "gptq")"),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("gptq")));
}

TEST(Llama4Config, RefusesContradictions) {
  EXPECT_THAT(ConfigFromHuggingFace(Llama4(R"(, "no_rope_layers": [1, 1])"), "", "c"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("each of 8 layers")));
  EXPECT_THAT(ConfigFromHuggingFace(Llama4(R"(, "moe_layers": [8])"), "", "c"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("moe_layers")));
  EXPECT_THAT(ConfigFromHuggingFace(Llama4(R"(, "num_experts_per_tok": 5)"), "", "c"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("5 of 4 experts")));
}

}  // namespace
}  // namespace trireme
