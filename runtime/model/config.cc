#include "runtime/model/config.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/str_format.h"
#include "runtime/base/status_macros.h"
#include "runtime/model/architecture.h"
#include "runtime/model/reading/gguf_reader.h"
#include "runtime/model/reading/json_reader.h"

namespace trireme {
namespace {

using nlohmann::json;

constexpr int64_t kMaxLayers = 4096;

absl::StatusOr<json> ParseObject(std::string_view text, std::string_view file) {
  json parsed = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!parsed.is_object()) {
    return absl::InvalidArgumentError(absl::StrFormat("%s is not a JSON object", file));
  }
  return parsed;
}

absl::StatusOr<std::optional<RopeScaling>> ReadScaling(const JsonReader& reader,
                                                       int64_t max_positions) {
  const std::string_view type_key = reader.Has("rope_type") ? "rope_type" : "type";
  TRI_ASSIGN_OR_RETURN(const std::string type, reader.Text(type_key));
  if (type == "default") return std::optional<RopeScaling>();
  if (type != "llama3") {
    return absl::UnimplementedError(
        absl::StrFormat("%s: rope type \"%s\" is not supported; expected \"default\" or \"llama3\"",
                        reader.file(), type));
  }
  RopeScaling scaling;
  TRI_ASSIGN_OR_RETURN(scaling.factor, reader.Positive("factor", std::nullopt));
  TRI_ASSIGN_OR_RETURN(scaling.low_freq_factor, reader.Positive("low_freq_factor", 1.0F));
  TRI_ASSIGN_OR_RETURN(scaling.high_freq_factor, reader.Positive("high_freq_factor", 4.0F));
  TRI_ASSIGN_OR_RETURN(
      scaling.original_max_positions,
      reader.Integer("original_max_position_embeddings", {1, kMaxExtent}, max_positions));
  return std::optional(scaling);
}

absl::StatusOr<RopeConfig> ReadRope(const JsonReader& reader, int64_t max_positions) {
  RopeConfig rope;
  if (reader.Has("rope_parameters")) {
    TRI_ASSIGN_OR_RETURN(const JsonReader parameters, reader.Object("rope_parameters"));
    TRI_ASSIGN_OR_RETURN(rope.theta, parameters.Positive("rope_theta", 10'000.0F));
    TRI_ASSIGN_OR_RETURN(rope.scaling, ReadScaling(parameters, max_positions));
    return rope;
  }
  TRI_ASSIGN_OR_RETURN(rope.theta, reader.Positive("rope_theta", 10'000.0F));
  if (reader.Has("rope_scaling")) {
    TRI_ASSIGN_OR_RETURN(const JsonReader scaling, reader.Object("rope_scaling"));
    TRI_ASSIGN_OR_RETURN(rope.scaling, ReadScaling(scaling, max_positions));
  }
  return rope;
}

absl::Status RefuseUnsupported(const JsonReader& reader) {
  for (const std::string_view key : {"attention_bias", "mlp_bias"}) {
    TRI_ASSIGN_OR_RETURN(const bool bias, reader.Boolean(key, false));
    if (bias) {
      return absl::UnimplementedError(
          absl::StrFormat("%s: \"%s\" = true is not supported", reader.file(), key));
    }
  }
  if (reader.Has("hidden_act")) {
    TRI_ASSIGN_OR_RETURN(const std::string activation, reader.Text("hidden_act"));
    if (activation != "silu") {
      return absl::UnimplementedError(absl::StrFormat(
          "%s: \"hidden_act\" must be \"silu\"; found \"%s\"", reader.file(), activation));
    }
  }
  return absl::OkStatus();
}

// Laws between the numbers, whichever file they came from.
absl::Status CheckConsistent(const ModelConfig& config, std::string_view file) {
  if (config.query_heads % config.kv_heads != 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s: the number of KV heads must divide the number of query heads; found %d and %d", file,
        config.kv_heads, config.query_heads));
  }
  if (config.head_dim % 2 != 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: the head dimension must be even; found %d", file, config.head_dim));
  }
  if (config.experts && config.experts->per_token > config.experts->count) {
    return absl::InvalidArgumentError(absl::StrFormat("%s: a token cannot go to %d of %d experts",
                                                      file, config.experts->per_token,
                                                      config.experts->count));
  }
  return absl::OkStatus();
}

absl::Status ReadSizes(const JsonReader& reader, ModelConfig& config) {
  const auto size = [&reader](std::string_view key, std::optional<int64_t> absent = std::nullopt) {
    return reader.Integer(key, {1, kMaxExtent}, absent);
  };
  TRI_ASSIGN_OR_RETURN(config.hidden, size("hidden_size"));
  TRI_ASSIGN_OR_RETURN(config.layers, reader.Integer("num_hidden_layers", {1, kMaxLayers + 1}));
  TRI_ASSIGN_OR_RETURN(config.query_heads, reader.Integer("num_attention_heads", {1, 65'537}));
  TRI_ASSIGN_OR_RETURN(config.kv_heads,
                       reader.Integer("num_key_value_heads", {1, 65'537}, config.query_heads));
  TRI_ASSIGN_OR_RETURN(config.head_dim,
                       reader.Integer("head_dim", {1, 65'537},
                                      std::max<int64_t>(1, config.hidden / config.query_heads)));
  TRI_ASSIGN_OR_RETURN(config.intermediate, size("intermediate_size"));
  TRI_ASSIGN_OR_RETURN(config.vocabulary, size("vocab_size"));
  TRI_ASSIGN_OR_RETURN(config.max_positions, size("max_position_embeddings", 2048));
  return absl::OkStatus();
}

absl::Status ReadStops(const JsonReader& text, const JsonReader& whole,
                       std::string_view generation_json, ModelConfig& config) {
  const JsonReader& eos_reader = text.Has("eos_token_id") ? text : whole;
  const JsonReader& bos_reader = text.Has("bos_token_id") ? text : whole;
  TRI_ASSIGN_OR_RETURN(config.stop_tokens, eos_reader.Ids("eos_token_id", config.vocabulary));
  TRI_ASSIGN_OR_RETURN(const auto bos, bos_reader.Ids("bos_token_id", config.vocabulary));
  if (!bos.empty()) config.bos = bos.front();
  if (generation_json.empty()) return absl::OkStatus();
  TRI_ASSIGN_OR_RETURN(const json generation,
                       ParseObject(generation_json, "generation_config.json"));
  const JsonReader generation_reader(generation, "generation_config.json");
  if (generation_reader.Has("eos_token_id")) {
    TRI_ASSIGN_OR_RETURN(config.stop_tokens,
                         generation_reader.Ids("eos_token_id", config.vocabulary));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ModelConfig> ConfigFromHuggingFace(std::string_view config_json,
                                                  std::string_view generation_json,
                                                  std::string_view file) {
  TRI_ASSIGN_OR_RETURN(const json parsed, ParseObject(config_json, file));
  const JsonReader whole(parsed, file);
  // A multimodal model keeps its language model's numbers apart, and its tensors under a prefix.
  const bool wrapped = whole.Has("text_config");
  TRI_ASSIGN_OR_RETURN(const JsonReader reader,
                       wrapped ? whole.Object("text_config") : absl::StatusOr<JsonReader>(whole));
  ModelConfig config;
  if (wrapped) config.tensor_prefix = "language_model.";
  TRI_ASSIGN_OR_RETURN(config.architecture,
                       (reader.Has("model_type") ? reader : whole).Text("model_type"));
  TRI_ASSIGN_OR_RETURN(const Architecture* architecture, FindArchitecture(config.architecture));
  TRI_RETURN_IF_ERROR(ReadSizes(reader, config));
  TRI_RETURN_IF_ERROR(RefuseUnsupported(reader));
  TRI_ASSIGN_OR_RETURN(config.rms_eps, reader.Positive("rms_norm_eps", 1e-6F));
  TRI_ASSIGN_OR_RETURN(config.rope, ReadRope(reader, config.max_positions));
  const JsonReader& tie_reader = reader.Has("tie_word_embeddings") ? reader : whole;
  TRI_ASSIGN_OR_RETURN(config.tied_head, tie_reader.Boolean("tie_word_embeddings", false));
  TRI_RETURN_IF_ERROR(ReadStops(reader, whole, generation_json, config));
  config.layer_kinds.resize(static_cast<size_t>(config.layers));
  TRI_RETURN_IF_ERROR(architecture->read_json(reader, whole, config));
  TRI_RETURN_IF_ERROR(CheckConsistent(config, file));
  return config;
}

namespace {

absl::Status ReadGgufTokens(const GgufMetadata& metadata, std::string_view file,
                            ModelConfig& config) {
  const auto token = [&](std::string_view key) -> absl::StatusOr<std::optional<int32_t>> {
    if (metadata.Find(key) == nullptr) return std::optional<int32_t>();
    TRI_ASSIGN_OR_RETURN(const int64_t id, metadata.GetInteger(key));
    if (id < 0 || id >= config.vocabulary) {
      return absl::InvalidArgumentError(absl::StrFormat("%s: \"%s\" must be below %d; found %d",
                                                        file, key, config.vocabulary, id));
    }
    return std::optional(static_cast<int32_t>(id));
  };
  TRI_ASSIGN_OR_RETURN(config.bos, token("tokenizer.ggml.bos_token_id"));
  // Llama 3 ends turns with another token than texts; a file names each it has.
  for (const std::string_view key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                     "tokenizer.ggml.eom_token_id"}) {
    TRI_ASSIGN_OR_RETURN(const std::optional<int32_t> id, token(key));
    if (!id) continue;
    const auto at = std::find(config.stop_tokens.begin(), config.stop_tokens.end(), *id);
    if (at == config.stop_tokens.end()) config.stop_tokens.push_back(*id);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ModelConfig> ConfigFromGguf(const GgufMetadata& metadata, std::string_view file) {
  ModelConfig config;
  TRI_ASSIGN_OR_RETURN(const std::string_view architecture,
                       metadata.GetString("general.architecture"));
  config.architecture = std::string(architecture);
  TRI_ASSIGN_OR_RETURN(const Architecture* family, FindArchitecture(architecture));
  const GgufReader reader(metadata, config.architecture, file);
  TRI_ASSIGN_OR_RETURN(config.hidden, reader.Size("embedding_length"));
  TRI_ASSIGN_OR_RETURN(config.layers, reader.Size("block_count"));
  if (config.layers > kMaxLayers) {
    return absl::InvalidArgumentError(absl::StrFormat("%s: expected at most %d layers; found %d",
                                                      file, kMaxLayers, config.layers));
  }
  TRI_ASSIGN_OR_RETURN(config.query_heads, reader.Size("attention.head_count"));
  TRI_ASSIGN_OR_RETURN(config.kv_heads, reader.Size("attention.head_count_kv", config.query_heads));
  TRI_ASSIGN_OR_RETURN(config.head_dim,
                       reader.Size("attention.key_length",
                                   std::max<int64_t>(1, config.hidden / config.query_heads)));
  TRI_ASSIGN_OR_RETURN(config.intermediate, reader.Size("feed_forward_length"));
  int64_t tokens = 0;
  if (const auto* list = metadata.Find("tokenizer.ggml.tokens"); list != nullptr) {
    tokens = static_cast<int64_t>(std::min<uint64_t>(list->count, kMaxExtent));
  }
  TRI_ASSIGN_OR_RETURN(
      config.vocabulary,
      reader.Size("vocab_size", tokens > 0 ? std::optional(tokens) : std::nullopt));
  TRI_ASSIGN_OR_RETURN(config.max_positions, reader.Size("context_length", 2048));
  TRI_ASSIGN_OR_RETURN(config.rms_eps, reader.Positive("attention.layer_norm_rms_epsilon", 1e-6F));
  TRI_ASSIGN_OR_RETURN(config.rope.theta, reader.Positive("rope.freq_base", 10'000.0F));
  // llama.cpp permutes the rows of Q and K so that neighbours rotate together.
  config.rope.style = RopeStyle::kInterleaved;
  TRI_RETURN_IF_ERROR(ReadGgufTokens(metadata, file, config));
  config.layer_kinds.resize(static_cast<size_t>(config.layers));
  TRI_RETURN_IF_ERROR(family->read_gguf(reader, config));
  TRI_RETURN_IF_ERROR(CheckConsistent(config, file));
  return config;
}

int64_t AttentionChunk(const ModelConfig& config) {
  for (const LayerKind& kind : config.layer_kinds) {
    if (kind.chunk != 0) return kind.chunk;
  }
  return 0;
}

absl::StatusOr<ModelConfig> ConfigOf(const Checkpoint& checkpoint) {
  if (checkpoint.gguf == nullptr) {
    return ConfigFromHuggingFace(checkpoint.config_json, checkpoint.generation_config_json,
                                 checkpoint.config_path);
  }
  TRI_ASSIGN_OR_RETURN(ModelConfig config, ConfigFromGguf(*checkpoint.gguf, checkpoint.path));
  config.tied_head = checkpoint.tensors->Find("output.weight") == nullptr;
  return config;
}

}  // namespace trireme
