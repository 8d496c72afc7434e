// What the Llama families share: the roles of their tensors, the rows of the table that all have,
// and the parts of a layer that differ in nothing but their weights.
#pragma once

#include <string_view>

#include "runtime/model/architecture.h"

namespace trireme {

// A tensor's role: indexes Weights.
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
  kRouter,
  kSharedGate,
  kSharedUp,
  kSharedDown,
  kExpertGate,
  kExpertUp,
  kExpertDown,
  kEmbedding,
  kFinalNorm,
  kHead,
  kRopeDivisors,
};

// How a layer's tensor is called: "model.layers.3.self_attn.q_proj.weight" has the name
// "self_attn.q_proj", and in GGUF "blk.3.attn_q.weight" has "attn_q".
struct RowName {
  std::string_view name;
  std::string_view gguf;
};
TensorSpec LayerRow(const ModelConfig& config, int layer, Slot slot, const RowName& name,
                    Shape shape);
// The same, cut along an axis.
struct Cut {
  Split split = Split::kNone;
  Along along = Along::kNothing;
  int64_t granule = 1;
};
TensorSpec LayerRow(const ModelConfig& config, int layer, Slot slot, const RowName& name,
                    Shape shape, const Cut& cut);

// The norms and the four projections of attention.
void AppendAttentionRows(const ModelConfig& config, int layer, TensorTable& table);

// Names of a SwiGLU's three matrices, and their places.
struct SwiGluRows {
  RowName gate, up, down;
  Slot gate_slot, up_slot, down_slot;
  int64_t width = 0;
  Along along = Along::kMlp;
};
void AppendSwiGluRows(const ModelConfig& config, int layer, const SwiGluRows& rows,
                      TensorTable& table);

// Embedding, last norm, head, and GGUF's divisors of the rotary frequencies.
void AppendEndRows(const ModelConfig& config, TensorTable& table);

std::vector<float> RotaryFrequencies(const ModelConfig& config, const Weights& weights);

// x = the tokens' embeddings.
void EmbedTokens(LayerContext& c, TensorView x);
// Q, K and V of x's norm, into the context's scratch.
void ProjectQkv(LayerContext& c, int layer, TensorView x);
void RotateQk(LayerContext& c);
// Keeps K and V, attends, and adds the projected output to x.
void AttendAndAdd(LayerContext& c, int layer, TensorView x);
// What a SwiGLU computes in, and its rank's leaves.
struct SwiGluScratch {
  TensorView gate;
  TensorView up;
  const LeafSchedule& schedule;
};
// out = this rank's part of down(silu(gate(x)) * up(x)), to be summed over the stage's ranks.
void SwiGlu(LayerContext& c, int layer, const SwiGluRows& rows, ConstTensorView x,
            const SwiGluScratch& scratch, TensorView out);
// logits = head(norm(rows)).
void PredictTokens(LayerContext& c, TensorView rows, TensorView logits);

}  // namespace trireme
