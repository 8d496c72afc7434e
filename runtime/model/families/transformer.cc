#include "runtime/model/families/transformer.h"

#include <cmath>

#include "absl/strings/str_format.h"
#include "runtime/model/families/operation_name.h"
#include "runtime/model/rope_table.h"

namespace trireme {

TensorSpec LayerRow(const ModelConfig& config, int layer, Slot slot, const RowName& name,
                    Shape shape) {
  TensorSpec spec;
  spec.name =
      absl::StrFormat("%smodel.layers.%d.%s.weight", config.tensor_prefix, layer, name.name);
  spec.gguf_name = absl::StrFormat("blk.%d.%s.weight", layer, name.gguf);
  spec.shape = shape;
  spec.layer = layer;
  spec.slot = slot;
  return spec;
}

TensorSpec LayerRow(const ModelConfig& config, int layer, Slot slot, const RowName& name,
                    Shape shape, const Cut& cut) {
  TensorSpec spec = LayerRow(config, layer, slot, name, shape);
  spec.split = cut.split;
  spec.along = cut.along;
  spec.granule = cut.granule;
  return spec;
}

void AppendAttentionRows(const ModelConfig& config, int layer, TensorTable& table) {
  const int64_t hidden = config.hidden;
  const int64_t dim = config.head_dim;
  const int64_t query = config.query_heads * dim;
  const int64_t kv = config.kv_heads * dim;
  const Cut by_query_head{Split::kOutput, Along::kQueryHeads, dim};
  const Cut by_kv_head{Split::kOutput, Along::kKvHeads, dim};
  const auto row = [&](Slot slot, const RowName& name, Shape shape, const Cut& cut) {
    table.push_back(LayerRow(config, layer, slot, name, shape, cut));
  };
  row(kAttentionNorm, {"input_layernorm", "attn_norm"}, {hidden}, {});
  row(kQuery, {"self_attn.q_proj", "attn_q"}, {query, hidden}, by_query_head);
  row(kKey, {"self_attn.k_proj", "attn_k"}, {kv, hidden}, by_kv_head);
  row(kValue, {"self_attn.v_proj", "attn_v"}, {kv, hidden}, by_kv_head);
  row(kAttentionOutput, {"self_attn.o_proj", "attn_output"}, {hidden, query},
      {Split::kInput, Along::kQueryHeads, dim});
  row(kMlpNorm, {"post_attention_layernorm", "ffn_norm"}, {hidden}, {});
}

void AppendSwiGluRows(const ModelConfig& config, int layer, const SwiGluRows& rows,
                      TensorTable& table) {
  const Shape inner{rows.width, config.hidden};
  const Cut by_output{Split::kOutput, rows.along};
  table.push_back(LayerRow(config, layer, rows.gate_slot, rows.gate, inner, by_output));
  table.push_back(LayerRow(config, layer, rows.up_slot, rows.up, inner, by_output));
  table.push_back(LayerRow(config, layer, rows.down_slot, rows.down, {config.hidden, rows.width},
                           {Split::kInput, rows.along}));
}

void AppendEndRows(const ModelConfig& config, TensorTable& table) {
  const Shape vocabulary{config.vocabulary, config.hidden};
  const std::string& prefix = config.tensor_prefix;
  table.push_back({.name = prefix + "model.embed_tokens.weight",
                   .gguf_name = "token_embd.weight",
                   .shape = vocabulary,
                   .split = Split::kOutput,
                   .along = Along::kVocabulary,
                   .holder = config.tied_head ? Holder::kFirstAndLastStage : Holder::kFirstStage,
                   .slot = kEmbedding});
  table.push_back({.name = prefix + "model.norm.weight",
                   .gguf_name = "output_norm.weight",
                   .shape = {config.hidden},
                   .holder = Holder::kLastStage,
                   .slot = kFinalNorm});
  if (!config.tied_head) {
    table.push_back({.name = prefix + "lm_head.weight",
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
}

std::vector<float> RotaryFrequencies(const ModelConfig& config, const Weights& weights) {
  const ConstTensorView divisors = weights.global(kRopeDivisors).view;
  if (divisors.empty() || divisors.dtype != DType::kF32) {
    return RopeFrequencies(config.rope, config.head_dim, {});
  }
  return RopeFrequencies(config.rope, config.head_dim, divisors.span<float>());
}

// Each token's row comes from the shard that holds it; the others add zeros, which changes nothing.
void EmbedTokens(LayerContext& c, TensorView x) {
  c.ops.Embed(c.tokens, c.weights.global(kEmbedding).view, c.extent.vocabulary.begin, x);
  c.collectives.TreeSum(x, "embedding");
}

void ProjectQkv(LayerContext& c, int layer, TensorView x) {
  c.ops.RmsNorm(x, c.weights.at(layer, kAttentionNorm).view, c.config.rms_eps, c.normed);
  c.ops.Linear(c.normed, c.weights.at(layer, kQuery).view, c.query);
  c.ops.Linear(c.normed, c.weights.at(layer, kKey).view, c.key);
  c.ops.Linear(c.normed, c.weights.at(layer, kValue).view, c.value);
}

void RotateQk(LayerContext& c) {
  const RopeStyle style = c.config.rope.style;
  c.ops.Rope(c.query, c.config.head_dim, c.rows.positions, c.rope_cos, c.rope_sin, style);
  c.ops.Rope(c.key, c.config.head_dim, c.rows.positions, c.rope_cos, c.rope_sin, style);
}

void AttendAndAdd(LayerContext& c, int layer, TensorView x) {
  const int64_t chunk = c.config.kind(layer).chunk;
  const RowIndex& rows = chunk == 0 ? c.rows : c.chunk_rows;
  const HeadSplit& heads = c.extent.heads;
  const KvPages& pages = c.kv[static_cast<size_t>(layer - c.extent.layers.begin)];
  c.ops.StoreKv(c.key, c.value, rows, pages);
  const AttentionShape shape{
      .query_heads = heads.query_heads.size(),
      .kv_heads = heads.kv_heads.size(),
      .group = c.config.query_heads / c.config.kv_heads,
      .first_query_head = heads.query_heads.begin,
      .first_kv_head = heads.kv_heads.begin,
      .head_dim = c.config.head_dim,
      .scale = 1.0F / std::sqrt(static_cast<float>(c.config.head_dim)),
      .span = chunk,
  };
  c.ops.Attention(c.query, rows, pages, shape, c.attended);
  const Weight& output = c.weights.at(layer, kAttentionOutput);
  c.ops.LinearLeaves(c.attended, output.view, output.column_offset, heads.schedule, c.partial);
  c.collectives.TreeSum(c.partial, OperationName(layer, "attention").view());
  c.ops.Add(x, c.partial);
}

void SwiGlu(LayerContext& c, int layer, const SwiGluRows& rows, ConstTensorView x,
            const SwiGluScratch& scratch, TensorView out) {
  c.ops.Linear(x, c.weights.at(layer, rows.gate_slot).view, scratch.gate);
  c.ops.Linear(x, c.weights.at(layer, rows.up_slot).view, scratch.up);
  c.ops.SiluMul(scratch.gate, scratch.up);
  const Weight& down = c.weights.at(layer, rows.down_slot);
  c.ops.LinearLeaves(scratch.gate, down.view, down.column_offset, scratch.schedule, out);
}

void PredictTokens(LayerContext& c, TensorView rows, TensorView logits) {
  c.ops.RmsNorm(rows, c.weights.global(kFinalNorm).view, c.config.rms_eps, rows);
  const Slot head = c.config.tied_head ? kEmbedding : kHead;
  c.ops.Linear(rows, c.weights.global(head).view, logits);
}

}  // namespace trireme
