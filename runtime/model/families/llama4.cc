// Llama 4 (Scout, Maverick): the text model. Layers alternate between chunked attention with rotary
// embedding and full attention without positions (iRoPE), and between MLPs and routed experts: each
// token goes to one expert, chosen by a router, besides a shared one. (Reference: llama-models
// llama4/model.py and moe.py; HuggingFace transformers modeling_llama4.py.)
#include <cmath>

#include "absl/strings/str_format.h"
#include "runtime/model/families/llama4_config.h"
#include "runtime/model/families/operation_name.h"
#include "runtime/model/families/transformer.h"

namespace trireme {
namespace {

SwiGluRows MlpRows(const ModelConfig& config) {
  return {.gate = {"feed_forward.gate_proj", "ffn_gate"},
          .up = {"feed_forward.up_proj", "ffn_up"},
          .down = {"feed_forward.down_proj", "ffn_down"},
          .gate_slot = kGate,
          .up_slot = kUp,
          .down_slot = kDown,
          .width = config.intermediate,
          .along = Along::kMlp};
}

SwiGluRows SharedExpertRows(const ModelConfig& config) {
  return {.gate = {"feed_forward.shared_expert.gate_proj", "ffn_gate_shexp"},
          .up = {"feed_forward.shared_expert.up_proj", "ffn_up_shexp"},
          .down = {"feed_forward.shared_expert.down_proj", "ffn_down_shexp"},
          .gate_slot = kSharedGate,
          .up_slot = kSharedUp,
          .down_slot = kSharedDown,
          .width = config.experts->width,
          .along = Along::kSharedExpert};
}

// One matrix of the routed experts' three, in whichever form the checkpoint has them.
struct ExpertRows {
  Slot slot;
  std::string_view name;  // "gate_proj"
  std::string_view gguf;  // "ffn_gate_exps"
  Split split;
  // In the fused form: the tensor that it is in, and from which of its columns.
  std::string_view fused_name;
  int64_t fused_column = 0;
};

std::string ExpertName(const ModelConfig& config, int layer, std::string_view rest) {
  return absl::StrFormat("%smodel.layers.%d.feed_forward.experts.%s", config.tensor_prefix, layer,
                         rest);
}

TensorSpec ExpertRow(const ModelConfig& config, int layer, const ExpertRows& rows) {
  TensorSpec spec;
  spec.name = ExpertName(config, layer, rows.name);
  spec.split = rows.split;
  spec.along = Along::kRoutedExpert;
  spec.layer = layer;
  spec.slot = rows.slot;
  spec.scaled = config.experts->scaled;
  return spec;
}

// Outputs and inputs of the matrix.
struct MatrixSize {
  int64_t outputs;
  int64_t inputs;
};
MatrixSize SizeOf(const ModelConfig& config, const ExpertRows& rows) {
  return rows.split == Split::kOutput ? MatrixSize{config.experts->width, config.hidden}
                                      : MatrixSize{config.hidden, config.experts->width};
}

// A matrix's scales are cut with its outputs.
TensorSpec ScalesOf(const TensorSpec& matrix, Shape shape) {
  TensorSpec scales = matrix;
  scales.shape = shape;
  if (matrix.split == Split::kInput) {
    scales.split = Split::kNone;
    scales.along = Along::kNothing;
  }
  scales.scaled = false;
  scales.expert_scales = true;
  return scales;
}

void AppendFused(const ModelConfig& config, int layer, const ExpertRows& rows, TensorTable& table) {
  const auto [outputs, inputs] = SizeOf(config, rows);
  const int64_t count = config.experts->count;
  const bool part = rows.name != rows.fused_name;
  TensorSpec matrix = ExpertRow(config, layer, rows);
  matrix.shape = {count, inputs, outputs};
  matrix.input_major = true;
  if (part) {
    matrix.fused =
        FusedPart{ExpertName(config, layer, rows.fused_name), rows.fused_column, 2 * outputs};
  }
  table.push_back(matrix);
  if (!config.experts->scaled) return;
  // [experts, 1, outputs] beside gate and up, [experts, outputs, 1] beside down.
  const bool as_row = rows.split == Split::kOutput;
  TensorSpec scales =
      ScalesOf(matrix, as_row ? Shape{count, 1, outputs} : Shape{count, outputs, 1});
  scales.name += "_scale";
  if (part) scales.fused->name += "_scale";
  table.push_back(scales);
}

void AppendSeparate(const ModelConfig& config, int layer, const ExpertRows& rows,
                    TensorTable& table) {
  const auto [outputs, inputs] = SizeOf(config, rows);
  for (int expert = 0; expert < config.experts->count; ++expert) {
    TensorSpec matrix = ExpertRow(config, layer, rows);
    const std::string name =
        ExpertName(config, layer, absl::StrFormat("%d.%s.weight", expert, rows.name));
    matrix.name = name;
    matrix.shape = {outputs, inputs};
    matrix.expert = expert;
    table.push_back(matrix);
    if (!config.experts->scaled) continue;
    TensorSpec scales = ScalesOf(matrix, {outputs});
    scales.name = name + "_scale";
    table.push_back(scales);
  }
}

void AppendStacked(const ModelConfig& config, int layer, const ExpertRows& rows,
                   TensorTable& table) {
  const auto [outputs, inputs] = SizeOf(config, rows);
  TensorSpec matrix = ExpertRow(config, layer, rows);
  matrix.gguf_name = absl::StrFormat("blk.%d.%s.weight", layer, rows.gguf);
  matrix.shape = {config.experts->count, outputs, inputs};
  table.push_back(matrix);
}

void AppendRoutedRows(const ModelConfig& config, int layer, TensorTable& table) {
  const ExpertConfig& experts = *config.experts;
  table.push_back(LayerRow(config, layer, kRouter, {"feed_forward.router", "ffn_gate_inp"},
                           {experts.count, config.hidden}));
  table.back().exact = true;
  AppendSwiGluRows(config, layer, SharedExpertRows(config), table);
  const ExpertRows matrices[] = {
      {kExpertGate, "gate_proj", "ffn_gate_exps", Split::kOutput, "gate_up_proj", 0},
      {kExpertUp, "up_proj", "ffn_up_exps", Split::kOutput, "gate_up_proj", experts.width},
      {kExpertDown, "down_proj", "ffn_down_exps", Split::kInput, "down_proj", 0},
  };
  for (const ExpertRows& rows : matrices) {
    switch (experts.form) {
      case ExpertForm::kFused:
        AppendFused(config, layer, rows, table);
        break;
      case ExpertForm::kSeparate:
        AppendSeparate(config, layer, rows, table);
        break;
      case ExpertForm::kStacked:
        AppendStacked(config, layer, rows, table);
        break;
    }
  }
}

TensorTable Tensors(const ModelConfig& config) {
  TensorTable table;
  for (int layer = 0; layer < config.layers; ++layer) {
    AppendAttentionRows(config, layer, table);
    if (config.kind(layer).routed) {
      AppendRoutedRows(config, layer, table);
    } else {
      AppendSwiGluRows(config, layer, MlpRows(config), table);
    }
  }
  AppendEndRows(config, table);
  return table;
}

// In double and rounded once, so that every machine's logarithm gives the same factors.
Tensor QueryScales(const ModelConfig& config, int64_t positions) {
  if (!config.query_growth) return Tensor();
  Tensor scales(DType::kF32, {positions, 1});
  for (int64_t p = 0; p < positions; ++p) {
    const float floors = std::floor(static_cast<float>(p + 1) / config.query_growth->floor_scale);
    const auto logarithm = static_cast<float>(std::log1p(static_cast<double>(floors)));
    *scales.view().row_as<float>(p) = 1 + logarithm * config.query_growth->attention_scale;
  }
  return scales;
}

// Each head of x, divided by its root mean square.
void NormHeads(LayerContext& c, TensorView x) {
  const int64_t dim = c.config.head_dim;
  const TensorView heads = x.Reshaped({x.shape.elements() / dim, dim});
  c.ops.RmsNorm(heads, ConstTensorView(), c.config.rms_eps, heads);
}

void Attention(LayerContext& c, int layer, TensorView x) {
  const LayerKind& kind = c.config.kind(layer);
  ProjectQkv(c, layer, x);
  if (kind.rope) RotateQk(c);
  if (kind.rope && c.config.normed_qk) {
    NormHeads(c, c.query);
    NormHeads(c, c.key);
  }
  if (!kind.rope && c.config.query_growth) {
    c.ops.ScaleByPosition(c.query, c.rows.positions, c.query_scales);
  }
  AttendAndAdd(c, layer, x);
}

void Mlp(LayerContext& c, int layer, TensorView x) {
  SwiGlu(c, layer, MlpRows(c.config), c.normed, {c.gate, c.up, c.extent.mlp.schedule}, c.partial);
  c.collectives.TreeSum(c.partial, OperationName(layer, "mlp").view());
  c.ops.Add(x, c.partial);
}

// This rank's part of each slot's expert; the router's score multiplies the expert's input.
void RoutedExperts(LayerContext& c, int layer, TensorView slots) {
  const ExpertScratch& e = c.experts;
  c.ops.Linear(c.normed, c.weights.at(layer, kRouter).view, e.logits);
  Routing routing = e.routing;
  const auto count = static_cast<size_t>(c.config.experts->count);
  routing.loads =
      routing.loads.subspan(static_cast<size_t>(layer - c.extent.layers.begin) * count, count);
  c.ops.Route(e.logits, routing);
  c.ops.GatherExperts(c.normed, routing, e.rows);
  c.ops.ExpertLinear(e.rows, c.weights.experts(layer, kExpertGate), routing, nullptr, e.gate);
  c.ops.ExpertLinear(e.rows, c.weights.experts(layer, kExpertUp), routing, nullptr, e.up);
  c.ops.SiluMul(e.gate, e.up);
  c.ops.ExpertLinear(e.gate, c.weights.experts(layer, kExpertDown), routing,
                     &c.extent.routed_expert.schedule, e.rows);
  c.ops.ScatterExperts(e.rows, routing, slots);
}

// The shared expert's sum and each slot's are trees of their own, added last, so that it does not
// matter how experts are dealt and sliced.
void SharedAndRouted(LayerContext& c, int layer, TensorView x) {
  const ExpertScratch& e = c.experts;
  const int64_t tokens = x.rows();
  const int64_t hidden = c.config.hidden;
  const int64_t per_token = c.config.experts->per_token;
  SwiGlu(c, layer, SharedExpertRows(c.config), c.normed,
         {e.shared_gate, e.shared_up, c.extent.shared_expert.schedule}, c.partial);
  const TensorView slots = e.sums.Rows({tokens, tokens + tokens * per_token});
  RoutedExperts(c, layer, slots);
  c.collectives.TreeSum(e.sums, OperationName(layer, "experts").view());
  const TensorView by_token = slots.Reshaped({tokens, per_token * hidden});
  const TensorView first = by_token.Columns({0, hidden});
  for (int64_t i = 1; i < per_token; ++i) {
    c.ops.Add(first, by_token.Columns({i * hidden, (i + 1) * hidden}));
  }
  c.ops.Add(c.partial, first);
  c.ops.Add(x, c.partial);
}

void Layer(LayerContext& c, int layer, TensorView x) {
  Attention(c, layer, x);
  c.ops.RmsNorm(x, c.weights.at(layer, kMlpNorm).view, c.config.rms_eps, c.normed);
  if (c.config.kind(layer).routed) {
    SharedAndRouted(c, layer, x);
  } else {
    Mlp(c, layer, x);
  }
}

}  // namespace

Architecture Llama4Architecture() {
  return {.name = "llama4",
          .model_types = {"llama4", "llama4_text"},
          .foreign_prefixes = {"vision_model.", "multi_modal_projector."},
          .read_json = ReadLlama4Json,
          .read_gguf = ReadLlama4Gguf,
          .tensors = Tensors,
          .rope_frequencies = RotaryFrequencies,
          .query_scales = QueryScales,
          .embed = EmbedTokens,
          .layer = Layer,
          .head = PredictTokens};
}

}  // namespace trireme
