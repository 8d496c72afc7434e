// The list of model families. A family is one file: its tensor table and its layers as free
// functions over Ops, Collectives and Weights; adding one adds a line to architecture.cc.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/model/config.h"
#include "runtime/model/extent.h"
#include "runtime/model/tensor_table.h"
#include "runtime/model/weights.h"
#include "runtime/ops/collectives.h"
#include "runtime/ops/ops.h"

namespace trireme {

// Everything a layer works with in one step. Views hold `tokens` rows.
struct LayerContext {
  Ops& ops;
  Collectives& collectives;
  const ModelConfig& config;
  const Extent& extent;
  const Weights& weights;
  const RowIndex& rows;
  std::span<const KvPages> kv;  // one a layer of the stage
  ConstTensorView rope_cos;     // [max positions, head_dim / 2]
  ConstTensorView rope_sin;
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
};

struct Architecture {
  std::string_view name;
  // model_type values of config.json, and general.architecture of GGUF, that mean this family.
  std::vector<std::string_view> model_types;
  TensorTable (*tensors)(const ModelConfig& config);
  // Inverse frequencies of the rotary embedding, [head_dim / 2].
  std::vector<float> (*rope_frequencies)(const ModelConfig& config, const Weights& weights);
  // x: [tokens, hidden] fp32.
  void (*embed)(LayerContext& context, TensorView x);
  void (*layer)(LayerContext& context, int layer, TensorView x);
  // rows: [n, hidden], overwritten; logits: [n, rank's vocabulary].
  void (*head)(LayerContext& context, TensorView rows, TensorView logits);
};

const std::vector<Architecture>& Architectures();
// By model_type; UNIMPLEMENTED naming what was found and what is supported.
absl::StatusOr<const Architecture*> FindArchitecture(std::string_view model_type);

}  // namespace trireme
