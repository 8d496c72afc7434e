#include "runtime/model/quantization/quantization.h"

#include <gtest/gtest.h>

#include <map>

#include "runtime/model/architecture.h"
#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

using testing::HasSubstr;

struct Described {
  ModelConfig config;
  TensorTable table;
};

Described Describe(std::string_view name) {
  const auto checkpoint =
      OpenCheckpoint(std::string(TRIREME_SOURCE_DIR) + "/tests/data/models/" + std::string(name));
  EXPECT_OK(checkpoint);
  Described model;
  model.config = *ConfigOf(*checkpoint);
  model.table = (*FindArchitecture(model.config.architecture))->tensors(model.config);
  return model;
}

std::map<std::string, TensorSpec> ByName(const absl::StatusOr<TensorTable>& table) {
  std::map<std::string, TensorSpec> specs;
  EXPECT_OK(table);
  if (!table.ok()) return specs;
  for (const TensorSpec& spec : *table) specs[spec.name] = spec;
  return specs;
}

TEST(Quantization, NamesReadBack) {
  for (const auto quantization : {Quantization::kNone, Quantization::kInt8, Quantization::kInt4}) {
    EXPECT_EQ(QuantizationFromName(Name(quantization)), quantization);
  }
  EXPECT_EQ(QuantizationFromName("int5"), std::nullopt);
}

TEST(Quantization, LeavesVectorsAndKeepsTheVocabularyInEightBits) {
  const Described model = Describe("llama3-tiny-bf16");
  const auto specs = ByName(QuantizedTable(model.table, model.config, Quantization::kInt4));
  EXPECT_EQ(specs.at("model.layers.0.input_layernorm.weight").quantized, std::nullopt);
  EXPECT_EQ(specs.at("model.layers.0.mlp.up_proj.weight").quantized, DType::kQ4_1);
  EXPECT_EQ(specs.at("model.layers.0.mlp.down_proj.weight").quantized, DType::kQ4_1);
  EXPECT_EQ(specs.at("model.embed_tokens.weight").quantized, DType::kQ8_0);
  EXPECT_EQ(specs.at("lm_head.weight").quantized, DType::kQ8_0);
}

TEST(Quantization, LeavesMatricesWhoseLeavesDoNotBeginWithABlock) {
  const Described model = Describe("llama3-tiny-f32");  // 8 leaves of 24 inputs
  const auto specs = ByName(QuantizedTable(model.table, model.config, Quantization::kInt8));
  EXPECT_EQ(specs.at("model.layers.0.mlp.up_proj.weight").quantized, DType::kQ8_0);
  EXPECT_EQ(specs.at("model.layers.0.mlp.down_proj.weight").quantized, std::nullopt);
  EXPECT_THAT(UnfitForBlocks(model.table, model.config),
              testing::ElementsAre("model.layers.0.mlp.down_proj.weight",
                                   "model.layers.1.mlp.down_proj.weight",
                                   "model.layers.2.mlp.down_proj.weight"));
}

TEST(Quantization, LaysExpertsOutByOutputsAndLeavesRouters) {
  const Described model = Describe("llama4-maverick-tiny");
  const auto specs = ByName(QuantizedTable(model.table, model.config, Quantization::kInt8));
  const TensorSpec& gate = specs.at("model.layers.1.feed_forward.experts.gate_proj");
  EXPECT_TRUE(gate.transposed);
  EXPECT_FALSE(gate.input_major);
  EXPECT_EQ(gate.shape, (Shape{8, 32, 128}));
  const TensorSpec& down = specs.at("model.layers.1.feed_forward.experts.down_proj");
  EXPECT_EQ(down.quantized, std::nullopt);  // leaves of 4 inputs
  EXPECT_TRUE(down.input_major);
  EXPECT_EQ(specs.at("model.layers.1.feed_forward.router.weight").quantized, std::nullopt);
}

TEST(Quantization, LeavesFp8InEightBitsAndRefusesFour) {
  const Described model = Describe("llama4-fp8");
  for (const auto& [name, spec] :
       ByName(QuantizedTable(model.table, model.config, Quantization::kInt8))) {
    EXPECT_FALSE(spec.quantized && (spec.scaled || spec.expert_scales)) << name;
  }
  EXPECT_THAT(QuantizedTable(model.table, model.config, Quantization::kInt4).status(),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("BF16 checkpoint")));
}

}  // namespace
}  // namespace trireme
