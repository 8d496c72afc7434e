// The list of model families. A family is one file of families/: how its configuration is read, its
// tensor table, and its layers as free functions over Ops, Collectives and Weights; adding one adds
// a declaration below and a line to architecture.cc.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/model/config.h"
#include "runtime/model/extent.h"
#include "runtime/model/reading/gguf_reader.h"
#include "runtime/model/reading/json_reader.h"
#include "runtime/model/tensor_table.h"
#include "runtime/model/weights.h"
#include "runtime/ops/collectives.h"
#include "runtime/ops/ops.h"

namespace trireme {

// Scratch of routed layers; empty where the model has none. A token has `per_token` slots.
struct ExpertScratch {
  TensorView logits;       // [tokens, experts]
  Routing routing;         // its loads: of all the stage's layers, one after the other
  TensorView rows;         // [slots, hidden] what goes into the rank's experts and comes out
  TensorView gate;         // [slots, rank's columns of an expert]
  TensorView up;           // the same
  TensorView shared_gate;  // [tokens, rank's columns of the shared expert]
  TensorView shared_up;    // the same
  TensorView sums;         // [tokens + slots, hidden]; begins with LayerContext::partial
};

// Everything a layer works with in one step. Views hold `tokens` rows.
struct LayerContext {
  Ops& ops;
  Collectives& collectives;
  const ModelConfig& config;
  const Extent& extent;
  const Weights& weights;
  const RowIndex& rows;         // of layers that keep every position
  const RowIndex& chunk_rows;   // of those that keep the current chunk
  std::span<const KvPages> kv;  // one a layer of the stage
  ConstTensorView rope_cos;     // [max positions, head_dim / 2]
  ConstTensorView rope_sin;
  ConstTensorView query_scales;  // [max positions, 1]; empty where Q does not grow
  std::span<const int32_t> tokens;
  // Scratch, fp32, not aliasing one another.
  TensorView normed;    // [tokens, hidden]
  TensorView partial;   // [tokens, hidden]
  TensorView query;     // [tokens, rank's query heads * head_dim]
  TensorView key;       // [tokens, rank's kv heads * head_dim]
  TensorView value;     // the same
  TensorView attended;  // like query
  TensorView gate;      // [tokens, rank's MLP columns]
  TensorView up;        // the same
  ExpertScratch experts;
};

struct Architecture {
  std::string_view name;
  // model_type values of config.json, and general.architecture of GGUF, that mean this family.
  std::vector<std::string_view> model_types;
  // Prefixes of tensors that a checkpoint may hold and the model does not need (a vision tower).
  std::vector<std::string_view> foreign_prefixes;
  // Fill in what is the family's own in a config whose other fields are set. `text` is the language
  // model's object of config.json, `whole` the file's.
  absl::Status (*read_json)(const JsonReader& text, const JsonReader& whole, ModelConfig& config);
  absl::Status (*read_gguf)(const GgufReader& reader, ModelConfig& config);
  TensorTable (*tensors)(const ModelConfig& config);
  // Inverse frequencies of the rotary embedding, [head_dim / 2].
  std::vector<float> (*rope_frequencies)(const ModelConfig& config, const Weights& weights);
  // [positions, 1] what Q grows by on layers without rotary embedding, or nothing.
  Tensor (*query_scales)(const ModelConfig& config, int64_t positions);
  // x: [tokens, hidden] fp32.
  void (*embed)(LayerContext& context, TensorView x);
  void (*layer)(LayerContext& context, int layer, TensorView x);
  // rows: [n, hidden], overwritten; logits: [n, rank's vocabulary].
  void (*head)(LayerContext& context, TensorView rows, TensorView logits);
};

Architecture LlamaArchitecture();
Architecture Llama4Architecture();

const std::vector<Architecture>& Architectures();
// By model_type; UNIMPLEMENTED naming what was found and what is supported.
absl::StatusOr<const Architecture*> FindArchitecture(std::string_view model_type);

}  // namespace trireme
