// A model's hyper-parameters, read from config.json (both dialects that occur: legacy `rope_theta`
// + `rope_scaling`, and transformers 5's `rope_parameters`) or from GGUF metadata. Untrusted input:
// every number is range-checked here, and code below trusts it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/base/gguf_metadata.h"
#include "runtime/checkpoint/checkpoint.h"
#include "runtime/ops/ops.h"

namespace trireme {

// Llama 3's frequency scaling (llama-models: apply_scaling).
struct RopeScaling {
  float factor = 1;
  float low_freq_factor = 1;
  float high_freq_factor = 1;
  int64_t original_max_positions = 0;
};

struct RopeConfig {
  float theta = 10'000;
  std::optional<RopeScaling> scaling;
  RopeStyle style = RopeStyle::kHalves;
};

// What one layer is, where a family's layers differ.
struct LayerKind {
  bool rope = true;     // Q and K are rotated; without it positions show only through the mask
  bool routed = false;  // routed experts and a shared one in place of the MLP
  // Attention sees only its own chunk of so many positions, from 0; 0: everything before.
  int64_t chunk = 0;
};

// How routed experts are stored.
enum class ExpertForm {
  kFused,     // [experts, hidden, 2 * width] gate and up side by side, and [experts, width, hidden]
  kSeparate,  // a matrix each: "experts.7.up_proj.weight" [width, hidden]
  kStacked,   // GGUF: [experts, width, hidden] and [experts, hidden, width]
};

struct ExpertConfig {
  int64_t count = 0;      // routed experts of a layer
  int64_t per_token = 1;  // how many of them a token goes to
  int64_t width = 0;      // of a routed expert and of the shared one
  ExpertForm form = ExpertForm::kFused;
  bool scaled = false;  // FP8 values, with a factor an output in tensors of their own
};

// Growth of Q with the position p on layers without rotary embedding:
// 1 + attention_scale * log(1 + floor((p + 1) / floor_scale)).
struct QueryGrowth {
  float floor_scale = 8192;
  float attention_scale = 0.1F;
};

struct ModelConfig {
  std::string architecture;  // a model type of architecture.cc's list: "llama"
  int64_t hidden = 0;
  int64_t layers = 0;
  int64_t query_heads = 0;
  int64_t kv_heads = 0;      // divides query_heads
  int64_t head_dim = 0;      // even
  int64_t intermediate = 0;  // width of the MLP of layers that are not routed
  int64_t vocabulary = 0;
  int64_t max_positions = 0;
  float rms_eps = 1e-5F;
  RopeConfig rope;
  bool tied_head = false;               // the head is the embedding table
  std::vector<LayerKind> layer_kinds;   // [layers]
  std::optional<ExpertConfig> experts;  // of routed layers
  bool normed_qk = false;               // Q and K are normed a head, on layers with rope
  std::optional<QueryGrowth> query_growth;
  std::string tensor_prefix;  // of HuggingFace's names: "language_model." in multimodal checkpoints
  std::optional<int32_t> bos;
  std::vector<int32_t>
      stop_tokens;  // end a completion; from generation_config.json where there is one

  const LayerKind& kind(int64_t layer) const { return layer_kinds[static_cast<size_t>(layer)]; }
};

// The chunk of the layers that have one (all the same: checked where it is read), or 0.
int64_t AttentionChunk(const ModelConfig& config);

// config_json, generation_json: the files' texts ("" where there is none); `file` names the first
// in errors.
absl::StatusOr<ModelConfig> ConfigFromHuggingFace(std::string_view config_json,
                                                  std::string_view generation_json,
                                                  std::string_view file);

absl::StatusOr<ModelConfig> ConfigFromGguf(const GgufMetadata& metadata, std::string_view file);

// Of either kind of checkpoint. (A GGUF file says only by its tensors whether the head is tied.)
absl::StatusOr<ModelConfig> ConfigOf(const Checkpoint& checkpoint);

}  // namespace trireme
