#include "runtime/model/config.h"

#include <array>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "absl/strings/str_format.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

using nlohmann::json;

// Larger values than any model has, small enough that products of two or three do not overflow.
constexpr int64_t kMaxExtent = int64_t{1} << 24;

// Typed reads of one JSON object, with errors that name file, key, expected and found.
class ConfigReader {
 public:
  ConfigReader(const json& object, std::string_view file) : object_(object), file_(file) {}

  bool Has(std::string_view key) const {
    const auto found = object_.find(key);
    return found != object_.end() && !found->is_null();
  }

  absl::StatusOr<int64_t> Integer(std::string_view key, Range allowed,
                                  std::optional<int64_t> absent = std::nullopt) const {
    if (!Has(key)) {
      if (absent) return *absent;
      return absl::InvalidArgumentError(
          absl::StrFormat("%s: \"%s\" is missing; an integer is expected", file_, key));
    }
    const json& value = object_[key];
    if (value.is_number_unsigned() && value.get<uint64_t>() > std::numeric_limits<int64_t>::max()) {
      return Refused(key, "an integer", value);
    }
    if (!value.is_number_integer() || value.get<int64_t>() < allowed.begin ||
        value.get<int64_t>() >= allowed.end) {
      return Refused(key, absl::StrFormat("an integer in [%d, %d]", allowed.begin, allowed.end - 1),
                     value);
    }
    return value.get<int64_t>();
  }

  absl::StatusOr<float> Positive(std::string_view key, std::optional<float> absent) const {
    if (!Has(key)) {
      if (absent) return *absent;
      return absl::InvalidArgumentError(
          absl::StrFormat("%s: \"%s\" is missing; a positive number is expected", file_, key));
    }
    const json& value = object_[key];
    if (!value.is_number() || !(value.get<double>() > 0) || !(value.get<double>() < 1e30)) {
      return Refused(key, "a positive number", value);
    }
    return value.get<float>();
  }

  absl::StatusOr<bool> Boolean(std::string_view key, bool absent) const {
    if (!Has(key)) return absent;
    if (!object_[key].is_boolean()) return Refused(key, "true or false", object_[key]);
    return object_[key].get<bool>();
  }

  absl::StatusOr<std::string> Text(std::string_view key) const {
    if (!Has(key) || !object_[key].is_string()) {
      return absl::InvalidArgumentError(absl::StrFormat("%s: \"%s\" must be a string", file_, key));
    }
    return object_[key].get<std::string>();
  }

  absl::StatusOr<ConfigReader> Object(std::string_view key) const {
    if (!object_[key].is_object()) return Refused(key, "an object", object_[key]);
    return ConfigReader(object_[key], file_);
  }

  // One id or a list of them.
  absl::StatusOr<std::vector<int32_t>> Ids(std::string_view key, int64_t vocabulary) const {
    std::vector<int32_t> ids;
    if (!Has(key)) return ids;
    const json& value = object_[key];
    const json list = value.is_array() ? value : json::array({value});
    for (const json& id : list) {
      if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() >= vocabulary) {
        return Refused(key, absl::StrFormat("token ids below %d", vocabulary), value);
      }
      ids.push_back(id.get<int32_t>());
    }
    return ids;
  }

  std::string_view file() const { return file_; }

 private:
  absl::Status Refused(std::string_view key, std::string_view expected, const json& found) const {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: \"%s\" must be %s; found %s", file_, key, expected,
                        found.dump(-1, ' ', true, json::error_handler_t::replace).substr(0, 80)));
  }

  const json& object_;
  std::string_view file_;
};

absl::StatusOr<json> ParseObject(std::string_view text, std::string_view file) {
  json parsed = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!parsed.is_object()) {
    return absl::InvalidArgumentError(absl::StrFormat("%s is not a JSON object", file));
  }
  return parsed;
}

absl::StatusOr<std::optional<RopeScaling>> ReadScaling(const ConfigReader& reader,
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

absl::StatusOr<RopeConfig> ReadRope(const ConfigReader& reader, int64_t max_positions) {
  RopeConfig rope;
  if (reader.Has("rope_parameters")) {
    TRI_ASSIGN_OR_RETURN(const ConfigReader parameters, reader.Object("rope_parameters"));
    TRI_ASSIGN_OR_RETURN(rope.theta, parameters.Positive("rope_theta", 10'000.0F));
    TRI_ASSIGN_OR_RETURN(rope.scaling, ReadScaling(parameters, max_positions));
    return rope;
  }
  TRI_ASSIGN_OR_RETURN(rope.theta, reader.Positive("rope_theta", 10'000.0F));
  if (reader.Has("rope_scaling")) {
    TRI_ASSIGN_OR_RETURN(const ConfigReader scaling, reader.Object("rope_scaling"));
    TRI_ASSIGN_OR_RETURN(rope.scaling, ReadScaling(scaling, max_positions));
  }
  return rope;
}

absl::Status RefuseUnsupported(const ConfigReader& reader) {
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
  if (reader.Has("quantization_config")) {
    return absl::UnimplementedError(absl::StrFormat(
        "%s: \"quantization_config\" is not supported for this architecture", reader.file()));
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
  return absl::OkStatus();
}

absl::Status ReadSizes(const ConfigReader& reader, ModelConfig& config) {
  const auto size = [&reader](std::string_view key, std::optional<int64_t> absent = std::nullopt) {
    return reader.Integer(key, {1, kMaxExtent}, absent);
  };
  TRI_ASSIGN_OR_RETURN(config.hidden, size("hidden_size"));
  TRI_ASSIGN_OR_RETURN(config.layers, reader.Integer("num_hidden_layers", {1, 4097}));
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

absl::Status ReadStops(const ConfigReader& reader, std::string_view generation_json,
                       ModelConfig& config) {
  TRI_ASSIGN_OR_RETURN(config.stop_tokens, reader.Ids("eos_token_id", config.vocabulary));
  TRI_ASSIGN_OR_RETURN(const auto bos, reader.Ids("bos_token_id", config.vocabulary));
  if (!bos.empty()) config.bos = bos.front();
  if (generation_json.empty()) return absl::OkStatus();
  TRI_ASSIGN_OR_RETURN(const json generation,
                       ParseObject(generation_json, "generation_config.json"));
  const ConfigReader generation_reader(generation, "generation_config.json");
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
  const ConfigReader reader(parsed, file);
  ModelConfig config;
  TRI_ASSIGN_OR_RETURN(config.architecture, reader.Text("model_type"));
  TRI_RETURN_IF_ERROR(ReadSizes(reader, config));
  TRI_RETURN_IF_ERROR(RefuseUnsupported(reader));
  TRI_ASSIGN_OR_RETURN(config.rms_eps, reader.Positive("rms_norm_eps", 1e-6F));
  TRI_ASSIGN_OR_RETURN(config.rope, ReadRope(reader, config.max_positions));
  TRI_ASSIGN_OR_RETURN(config.tied_head, reader.Boolean("tie_word_embeddings", false));
  TRI_RETURN_IF_ERROR(ReadStops(reader, generation_json, config));
  TRI_RETURN_IF_ERROR(CheckConsistent(config, file));
  return config;
}

namespace {

// Reads of "<architecture>.<key>" with the same bounds as config.json's.
class GgufConfigReader {
 public:
  GgufConfigReader(const GgufMetadata& metadata, std::string prefix, std::string_view file)
      : metadata_(metadata), prefix_(std::move(prefix)), file_(file) {}

  absl::StatusOr<int64_t> Size(std::string_view key,
                               std::optional<int64_t> absent = std::nullopt) const {
    const std::string full = absl::StrFormat("%s.%s", prefix_, key);
    if (absent && metadata_.Find(full) == nullptr) return *absent;
    TRI_ASSIGN_OR_RETURN(const int64_t value, metadata_.GetInteger(full));
    if (value < 1 || value >= kMaxExtent) {
      return absl::InvalidArgumentError(absl::StrFormat("%s: \"%s\" must be in [1, %d]; found %d",
                                                        file_, full, kMaxExtent - 1, value));
    }
    return value;
  }

  absl::StatusOr<float> Positive(std::string_view key, float absent) const {
    const std::string full = absl::StrFormat("%s.%s", prefix_, key);
    if (metadata_.Find(full) == nullptr) return absent;
    TRI_ASSIGN_OR_RETURN(const double value, metadata_.GetFloat(full));
    if (!(value > 0) || !(value < 1e30)) {
      return absl::InvalidArgumentError(
          absl::StrFormat("%s: \"%s\" must be positive; found %g", file_, full, value));
    }
    return static_cast<float>(value);
  }

 private:
  const GgufMetadata& metadata_;
  std::string prefix_;
  std::string_view file_;
};

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
  const GgufConfigReader reader(metadata, config.architecture, file);
  TRI_ASSIGN_OR_RETURN(config.hidden, reader.Size("embedding_length"));
  TRI_ASSIGN_OR_RETURN(config.layers, reader.Size("block_count"));
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
  TRI_RETURN_IF_ERROR(CheckConsistent(config, file));
  return config;
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
