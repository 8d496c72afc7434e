// Llama 2 and 3 and their kin (SmolLM2): pre-norm transformer with grouped-query attention, rotary
// embedding and a SwiGLU MLP ("The Llama 3 Herd of Models", 2024; reference: llama-models
// llama3/model.py).
#include "absl/strings/str_format.h"
#include "runtime/model/families/operation_name.h"
#include "runtime/model/families/transformer.h"

namespace trireme {
namespace {

SwiGluRows MlpRows(const ModelConfig& config) {
  return {.gate = {"mlp.gate_proj", "ffn_gate"},
          .up = {"mlp.up_proj", "ffn_up"},
          .down = {"mlp.down_proj", "ffn_down"},
          .gate_slot = kGate,
          .up_slot = kUp,
          .down_slot = kDown,
          .width = config.intermediate,
          .along = Along::kMlp};
}

absl::Status ReadJson(const JsonReader&, const JsonReader& whole, ModelConfig&) {
  if (!whole.Has("quantization_config")) return absl::OkStatus();
  return absl::UnimplementedError(absl::StrFormat(
      "%s: \"quantization_config\" is not supported for this architecture", whole.file()));
}

absl::Status ReadGguf(const GgufReader&, ModelConfig&) { return absl::OkStatus(); }

TensorTable Tensors(const ModelConfig& config) {
  TensorTable table;
  for (int layer = 0; layer < config.layers; ++layer) {
    AppendAttentionRows(config, layer, table);
    AppendSwiGluRows(config, layer, MlpRows(config), table);
  }
  AppendEndRows(config, table);
  return table;
}

Tensor NoQueryScales(const ModelConfig&, int64_t) { return Tensor(); }

void Layer(LayerContext& c, int layer, TensorView x) {
  ProjectQkv(c, layer, x);
  RotateQk(c);
  AttendAndAdd(c, layer, x);

  c.ops.RmsNorm(x, c.weights.at(layer, kMlpNorm).view, c.config.rms_eps, c.normed);
  SwiGlu(c, layer, MlpRows(c.config), c.normed, {c.gate, c.up, c.extent.mlp.schedule}, c.partial);
  c.collectives.TreeSum(c.partial, OperationName(layer, "mlp").view());
  c.ops.Add(x, c.partial);
}

}  // namespace

Architecture LlamaArchitecture() {
  return {.name = "llama",
          .model_types = {"llama"},
          .foreign_prefixes = {},
          .read_json = ReadJson,
          .read_gguf = ReadGguf,
          .tensors = Tensors,
          .rope_frequencies = RotaryFrequencies,
          .query_scales = NoQueryScales,
          .embed = EmbedTokens,
          .layer = Layer,
          .head = PredictTokens};
}

}  // namespace trireme
