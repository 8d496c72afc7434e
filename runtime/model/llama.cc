#include "runtime/model/llama.h"

#include <cmath>

#include "absl/strings/str_format.h"
#include "runtime/model/operation_name.h"
#include "runtime/model/rope_table.h"

namespace trireme {
namespace {

enum Slot : int {
  kAttentionNorm,
  kQuery,
  kKey,
  kValue,
  kAttentionOutput,
  kMlpNorm,
  kGate,
  kUp,
  kDown,
  kEmbedding,
  kFinalNorm,
  kHead,
  kRopeDivisors,
};

void AppendLayer(const ModelConfig& config, int layer, TensorTable& table) {
  const int64_t hidden = config.hidden;
  const int64_t dim = config.head_dim;
  const int64_t query = config.query_heads * dim;
  const int64_t kv = config.kv_heads * dim;
  const int64_t mlp = config.intermediate;
  const auto row = [&](std::string_view name, std::string_view gguf, Shape shape, Split split,
                       Along along, int64_t granule, Slot slot) {
    TensorSpec spec;
    spec.name = absl::StrFormat("model.layers.%d.%s.weight", layer, name);
    spec.gguf_name = absl::StrFormat("blk.%d.%s.weight", layer, gguf);
    spec.shape = shape;
    spec.split = split;
    spec.along = along;
    spec.granule = granule;
    spec.layer = layer;
    spec.slot = slot;
    table.push_back(spec);
  };
  using enum Split;
  using enum Along;
  row("input_layernorm", "attn_norm", {hidden}, kNone, kNothing, 1, kAttentionNorm);
  row("self_attn.q_proj", "attn_q", {query, hidden}, kOutput, kQueryHeads, dim, kQuery);
  row("self_attn.k_proj", "attn_k", {kv, hidden}, kOutput, kKvHeads, dim, kKey);
  row("self_attn.v_proj", "attn_v", {kv, hidden}, kOutput, kKvHeads, dim, kValue);
  row("self_attn.o_proj", "attn_output", {hidden, query}, kInput, kQueryHeads, dim,
      kAttentionOutput);
  row("post_attention_layernorm", "ffn_norm", {hidden}, kNone, kNothing, 1, kMlpNorm);
  row("mlp.gate_proj", "ffn_gate", {mlp, hidden}, kOutput, kMlp, 1, kGate);
  row("mlp.up_proj", "ffn_up", {mlp, hidden}, kOutput, kMlp, 1, kUp);
  row("mlp.down_proj", "ffn_down", {hidden, mlp}, kInput, kMlp, 1, kDown);
}

TensorTable Tensors(const ModelConfig& config) {
  TensorTable table;
  for (int layer = 0; layer < config.layers; ++layer) AppendLayer(config, layer, table);
  const Shape vocabulary{config.vocabulary, config.hidden};
  table.push_back({.name = "model.embed_tokens.weight",
                   .gguf_name = "token_embd.weight",
                   .shape = vocabulary,
                   .split = Split::kOutput,
                   .along = Along::kVocabulary,
                   .holder = config.tied_head ? Holder::kFirstAndLastStage : Holder::kFirstStage,
                   .slot = kEmbedding});
  table.push_back({.name = "model.norm.weight",
                   .gguf_name = "output_norm.weight",
                   .shape = {config.hidden},
                   .holder = Holder::kLastStage,
                   .slot = kFinalNorm});
  if (!config.tied_head) {
    table.push_back({.name = "lm_head.weight",
                     .gguf_name = "output.weight",
                     .shape = vocabulary,
                     .split = Split::kOutput,
                     .along = Along::kVocabulary,
                     .holder = Holder::kLastStage,
                     .slot = kHead});
  }
  // llama.cpp stores Llama 3's frequency scaling as divisors instead of parameters.
  table.push_back({.name = "rope_freqs.weight",
                   .gguf_name = "rope_freqs.weight",
                   .shape = {config.head_dim / 2},
                   .holder = Holder::kEveryStage,
                   .slot = kRopeDivisors,
                   .optional = true});
  return table;
}

std::vector<float> Frequencies(const ModelConfig& config, const Weights& weights) {
  const ConstTensorView divisors = weights.global(kRopeDivisors).view;
  if (divisors.empty() || divisors.dtype != DType::kF32) {
    return RopeFrequencies(config.rope, config.head_dim, {});
  }
  return RopeFrequencies(config.rope, config.head_dim, divisors.span<float>());
}

// Each token's row comes from the shard that holds it; the others add zeros, which changes nothing.
void Embed(LayerContext& c, TensorView x) {
  c.ops.Embed(c.tokens, c.weights.global(kEmbedding).view, c.extent.vocabulary.begin, x);
  c.collectives.TreeSum(x, "embedding");
}

void Attention(LayerContext& c, int layer, TensorView x) {
  const HeadSplit& heads = c.extent.heads;
  const int64_t dim = c.config.head_dim;
  c.ops.RmsNorm(x, c.weights.at(layer, kAttentionNorm).view, c.config.rms_eps, c.normed);
  c.ops.Linear(c.normed, c.weights.at(layer, kQuery).view, c.query);
  c.ops.Linear(c.normed, c.weights.at(layer, kKey).view, c.key);
  c.ops.Linear(c.normed, c.weights.at(layer, kValue).view, c.value);
  const RopeStyle style = c.config.rope.style;
  c.ops.Rope(c.query, dim, c.rows.positions, c.rope_cos, c.rope_sin, style);
  c.ops.Rope(c.key, dim, c.rows.positions, c.rope_cos, c.rope_sin, style);
  const KvPages& pages = c.kv[static_cast<size_t>(layer - c.extent.layers.begin)];
  c.ops.StoreKv(c.key, c.value, c.rows, pages);
  const AttentionShape shape{
      .query_heads = heads.query_heads.size(),
      .kv_heads = heads.kv_heads.size(),
      .group = c.config.query_heads / c.config.kv_heads,
      .first_query_head = heads.query_heads.begin,
      .first_kv_head = heads.kv_heads.begin,
      .head_dim = dim,
      .scale = 1.0F / std::sqrt(static_cast<float>(dim)),
  };
  c.ops.Attention(c.query, c.rows, pages, shape, c.attended);
  const Weight& output = c.weights.at(layer, kAttentionOutput);
  c.ops.LinearLeaves(c.attended, output.view, output.column_offset, heads.schedule, c.partial);
  c.collectives.TreeSum(c.partial, OperationName(layer, "attention").view());
  c.ops.Add(x, c.partial);
}

void Mlp(LayerContext& c, int layer, TensorView x) {
  c.ops.RmsNorm(x, c.weights.at(layer, kMlpNorm).view, c.config.rms_eps, c.normed);
  c.ops.Linear(c.normed, c.weights.at(layer, kGate).view, c.gate);
  c.ops.Linear(c.normed, c.weights.at(layer, kUp).view, c.up);
  c.ops.SiluMul(c.gate, c.up);
  const Weight& down = c.weights.at(layer, kDown);
  c.ops.LinearLeaves(c.gate, down.view, down.column_offset, c.extent.mlp.schedule, c.partial);
  c.collectives.TreeSum(c.partial, OperationName(layer, "mlp").view());
  c.ops.Add(x, c.partial);
}

void Layer(LayerContext& c, int layer, TensorView x) {
  Attention(c, layer, x);
  Mlp(c, layer, x);
}

void Head(LayerContext& c, TensorView rows, TensorView logits) {
  c.ops.RmsNorm(rows, c.weights.global(kFinalNorm).view, c.config.rms_eps, rows);
  const Slot head = c.config.tied_head ? kEmbedding : kHead;
  c.ops.Linear(rows, c.weights.global(head).view, logits);
}

}  // namespace

Architecture LlamaArchitecture() {
  return {.name = "llama",
          .model_types = {"llama"},
          .tensors = Tensors,
          .rope_frequencies = Frequencies,
          .embed = Embed,
          .layer = Layer,
          .head = Head};
}

}  // namespace trireme
