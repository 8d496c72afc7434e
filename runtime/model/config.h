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

struct ModelConfig {
  std::string architecture;  // a name of architecture.cc's list: "llama"
  int64_t hidden = 0;
  int64_t layers = 0;
  int64_t query_heads = 0;
  int64_t kv_heads = 0;  // divides query_heads
  int64_t head_dim = 0;  // even
  int64_t intermediate = 0;
  int64_t vocabulary = 0;
  int64_t max_positions = 0;
  float rms_eps = 1e-5F;
  RopeConfig rope;
  bool tied_head = false;  // the head is the embedding table
  std::optional<int32_t> bos;
  std::vector<int32_t>
      stop_tokens;  // end a completion; from generation_config.json where there is one
};

// config_json, generation_json: the files' texts ("" where there is none); `file` names the first
// in errors.
absl::StatusOr<ModelConfig> ConfigFromHuggingFace(std::string_view config_json,
                                                  std::string_view generation_json,
                                                  std::string_view file);

absl::StatusOr<ModelConfig> ConfigFromGguf(const GgufMetadata& metadata, std::string_view file);

// Of either kind of checkpoint. (A GGUF file says only by its tensors whether the head is tied.)
absl::StatusOr<ModelConfig> ConfigOf(const Checkpoint& checkpoint);

}  // namespace trireme
