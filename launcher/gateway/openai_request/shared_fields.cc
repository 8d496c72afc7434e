#include "launcher/gateway/openai_request/shared_fields.h"

namespace trireme {

absl::Status ReadSampling(const Json& body, v1::SamplingParams& sampling) {
  sampling.set_temperature(1);  // OpenAI's default; ours is greedy
  TRI_RETURN_IF_ERROR(
      ReadNumber(body, "temperature", [&](float value) { sampling.set_temperature(value); }));
  TRI_RETURN_IF_ERROR(ReadNumber(body, "top_p", [&](float value) { sampling.set_top_p(value); }));
  TRI_RETURN_IF_ERROR(ReadNumber(body, "min_p", [&](float value) { sampling.set_min_p(value); }));
  TRI_RETURN_IF_ERROR(ReadNumber(body, "repetition_penalty",
                                 [&](float value) { sampling.set_repetition_penalty(value); }));
  TRI_RETURN_IF_ERROR(ReadNumber(body, "frequency_penalty",
                                 [&](float value) { sampling.set_frequency_penalty(value); }));
  TRI_RETURN_IF_ERROR(ReadNumber(body, "presence_penalty",
                                 [&](float value) { sampling.set_presence_penalty(value); }));
  // -1 is how other servers say "off".
  TRI_RETURN_IF_ERROR(ReadWhole<int32_t>(
      body, "top_k", [&](int32_t value) { sampling.set_top_k(value == -1 ? 0 : value); }));
  return ReadWhole<int64_t>(
      body, "seed", [&](int64_t value) { sampling.set_seed(static_cast<uint64_t>(value)); });
}

absl::Status ReadLogitBias(const Json& body, google::protobuf::Map<int32_t, float>& biases) {
  constexpr std::string_view kExpected = "an object of token ids and numbers";
  const Json* object = FindField(body, "logit_bias");
  if (object == nullptr) return absl::OkStatus();
  if (!object->is_object()) return WrongField("logit_bias", kExpected);
  for (const auto& [token, bias] : object->items()) {
    int32_t id = 0;
    const char* const end = token.data() + token.size();
    const auto parsed = std::from_chars(token.data(), end, id);
    if (parsed.ec != std::errc() || parsed.ptr != end || !bias.is_number()) {
      return WrongField("logit_bias", kExpected);
    }
    biases[id] = bias.get<float>();
  }
  return absl::OkStatus();
}

absl::Status ReadStop(const Json& body, google::protobuf::RepeatedPtrField<std::string>& stop) {
  const Json* value = FindField(body, "stop");
  if (value == nullptr) return absl::OkStatus();
  if (value->is_string()) {
    *stop.Add() = value->get<std::string>();
    return absl::OkStatus();
  }
  if (!value->is_array()) return WrongField("stop", "a text or a list of texts");
  for (const Json& item : *value) {
    if (!item.is_string()) return WrongField("stop", "a text or a list of texts");
    *stop.Add() = item.get<std::string>();
  }
  return absl::OkStatus();
}

absl::Status ReadStream(const Json& body, ReplyForm& form) {
  TRI_RETURN_IF_ERROR(ReadBool(body, "stream", form.stream));
  const Json* options = FindField(body, "stream_options");
  if (options == nullptr) return absl::OkStatus();
  if (!options->is_object()) return WrongField("stream_options", "an object");
  if (!form.stream) return WrongField("stream_options", "none without stream: true");
  TRI_RETURN_IF_ERROR(ReadBool(*options, "include_usage", form.include_usage));
  return ReadBool(*options, "continuous_usage_stats", form.usage_in_every_event);
}

absl::Status ReadResponseFormat(const Json& body, v1::Constraint& constraint) {
  const Json* format = FindField(body, "response_format");
  if (format == nullptr) return absl::OkStatus();
  std::string type;
  if (!format->is_object()) return WrongField("response_format", "an object with a type");
  TRI_RETURN_IF_ERROR(ReadText(*format, "type", type));
  if (type == "text") return absl::OkStatus();
  if (type == "json_object") {
    constraint.set_json_object(true);
    return absl::OkStatus();
  }
  if (type != "json_schema") {
    return WrongField("response_format.type", "text, json_object or json_schema");
  }
  const Json* named = FindField(*format, "json_schema");
  const Json* schema = named == nullptr ? nullptr : FindField(*named, "schema");
  if (schema == nullptr || !schema->is_object()) {
    return WrongField("response_format.json_schema", "an object with a schema");
  }
  constraint.set_json_schema(Dump(*schema));
  return absl::OkStatus();
}

absl::Status ReadTokenIds(const Json& list, std::string_view field,
                          google::protobuf::RepeatedField<int32_t>& ids) {
  if (!list.is_array()) return WrongField(field, "a list of token ids");
  ids.Reserve(static_cast<int>(list.size()));
  for (const Json& item : list) {
    TRI_ASSIGN_OR_RETURN(const int64_t id, WholeNumber(item, field, 0, INT32_MAX));
    ids.Add(static_cast<int32_t>(id));
  }
  return absl::OkStatus();
}

}  // namespace trireme
