#include "runtime/model/families/llama4_config.h"

#include <algorithm>

#include "absl/strings/str_format.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

constexpr int64_t kNoRopeInterval = 4;
constexpr int64_t kDefaultChunk = 8192;
constexpr int64_t kMaxExperts = 65'536;

// Which layers rotate: the list, where 1 means that the layer does, or all but every fourth.
absl::Status ReadRopeLayers(const JsonReader& text, ModelConfig& config) {
  TRI_ASSIGN_OR_RETURN(const std::vector<int64_t> list, text.Integers("no_rope_layers", {0, 2}));
  if (!list.empty() && static_cast<int64_t>(list.size()) != config.layers) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: \"no_rope_layers\" must have an entry for each of %d layers; found %d",
                        text.file(), config.layers, list.size()));
  }
  TRI_ASSIGN_OR_RETURN(const int64_t interval,
                       text.Integer("no_rope_layer_interval", {1, kMaxExtent}, kNoRopeInterval));
  for (size_t layer = 0; layer < config.layer_kinds.size(); ++layer) {
    config.layer_kinds[layer].rope =
        list.empty() ? (static_cast<int64_t>(layer) + 1) % interval != 0 : list[layer] != 0;
  }
  return absl::OkStatus();
}

// Layers that rotate see their chunk only, unless there are no chunks.
void SetChunks(int64_t chunk, ModelConfig& config) {
  for (LayerKind& kind : config.layer_kinds) kind.chunk = kind.rope ? chunk : 0;
}

void RouteEvery(int64_t step, ModelConfig& config) {
  for (size_t layer = 0; layer < config.layer_kinds.size(); ++layer) {
    config.layer_kinds[layer].routed = (static_cast<int64_t>(layer) + 1) % step == 0;
  }
}

absl::Status ReadRoutedLayers(const JsonReader& text, ModelConfig& config) {
  TRI_ASSIGN_OR_RETURN(const std::vector<int64_t> list,
                       text.Integers("moe_layers", {0, config.layers}));
  TRI_ASSIGN_OR_RETURN(const int64_t step,
                       text.Integer("interleave_moe_layer_step", {1, kMaxExtent}, 1));
  if (list.empty()) {
    RouteEvery(step, config);
  } else {
    for (const int64_t layer : list) config.layer_kinds[static_cast<size_t>(layer)].routed = true;
  }
  return absl::OkStatus();
}

// Published checkpoints quantise the routed experts' values to FP8: each expert apart with
// compressed-tensors, or fused as the unquantised ones are with fbgemm.
absl::Status ReadQuantization(const JsonReader& text, const JsonReader& whole,
                              ExpertConfig& experts) {
  const JsonReader& holder = whole.Has("quantization_config") ? whole : text;
  if (!holder.Has("quantization_config")) return absl::OkStatus();
  TRI_ASSIGN_OR_RETURN(const JsonReader quantization, holder.Object("quantization_config"));
  TRI_ASSIGN_OR_RETURN(const std::string method, quantization.Text("quant_method"));
  experts.scaled = true;
  if (method == "fbgemm_fp8") return absl::OkStatus();
  experts.form = ExpertForm::kSeparate;
  if (method == "compressed-tensors") {
    TRI_ASSIGN_OR_RETURN(const std::string format, quantization.Text("format"));
    if (format == "float-quantized") return absl::OkStatus();
    return absl::UnimplementedError(absl::StrFormat(
        "%s: compressed-tensors of format \"%s\" are not supported; \"float-quantized\" (FP8) is",
        whole.file(), format));
  }
  return absl::UnimplementedError(
      absl::StrFormat("%s: quantization method \"%s\" is not supported; \"compressed-tensors\" and "
                      "\"fbgemm_fp8\" (both FP8) are",
                      whole.file(), method));
}

absl::Status ReadGrowth(const JsonReader& text, ModelConfig& config) {
  TRI_ASSIGN_OR_RETURN(const bool grows, text.Flag("attn_temperature_tuning", true));
  if (!grows) return absl::OkStatus();
  QueryGrowth growth;
  TRI_ASSIGN_OR_RETURN(growth.floor_scale, text.Positive("floor_scale", growth.floor_scale));
  TRI_ASSIGN_OR_RETURN(growth.attention_scale, text.Positive("attn_scale", growth.attention_scale));
  config.query_growth = growth;
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadLlama4Json(const JsonReader& text, const JsonReader& whole, ModelConfig& config) {
  config.rope.style = RopeStyle::kInterleaved;
  ExpertConfig experts;
  // What other families call the intermediate size is the experts' here.
  experts.width = config.intermediate;
  TRI_ASSIGN_OR_RETURN(config.intermediate, text.Integer("intermediate_size_mlp", {1, kMaxExtent}));
  TRI_ASSIGN_OR_RETURN(experts.count, text.Integer("num_local_experts", {1, kMaxExperts}));
  TRI_ASSIGN_OR_RETURN(experts.per_token, text.Integer("num_experts_per_tok", {1, kMaxExperts}, 1));
  TRI_RETURN_IF_ERROR(ReadQuantization(text, whole, experts));
  config.experts = experts;
  TRI_RETURN_IF_ERROR(ReadRopeLayers(text, config));
  // Absent is the default, null is no chunks.
  if (!text.IsNull("attention_chunk_size")) {
    TRI_ASSIGN_OR_RETURN(const int64_t chunk,
                         text.Integer("attention_chunk_size", {1, kMaxExtent}, kDefaultChunk));
    SetChunks(chunk, config);
  }
  TRI_RETURN_IF_ERROR(ReadRoutedLayers(text, config));
  TRI_RETURN_IF_ERROR(ReadGrowth(text, config));
  TRI_ASSIGN_OR_RETURN(config.normed_qk, text.Boolean("use_qk_norm", true));
  return absl::OkStatus();
}

absl::Status ReadLlama4Gguf(const GgufReader& reader, ModelConfig& config) {
  constexpr int64_t kMaverickExperts = 128;
  ExpertConfig experts;
  experts.form = ExpertForm::kStacked;
  TRI_ASSIGN_OR_RETURN(experts.count, reader.Size("expert_count"));
  TRI_ASSIGN_OR_RETURN(experts.per_token, reader.Size("expert_used_count", 1));
  TRI_ASSIGN_OR_RETURN(experts.width, reader.Size("expert_feed_forward_length"));
  TRI_ASSIGN_OR_RETURN(const int64_t step, reader.Size("interleave_moe_layer_step"));
  TRI_ASSIGN_OR_RETURN(const int64_t chunk,
                       reader.Count("attention.sliding_window", kDefaultChunk));
  config.experts = experts;
  config.normed_qk = experts.count != kMaverickExperts;
  config.query_growth = QueryGrowth();
  for (size_t layer = 0; layer < config.layer_kinds.size(); ++layer) {
    config.layer_kinds[layer].rope = (static_cast<int64_t>(layer) + 1) % kNoRopeInterval != 0;
  }
  SetChunks(chunk, config);
  RouteEvery(step, config);
  return absl::OkStatus();
}

}  // namespace trireme
