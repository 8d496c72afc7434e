#include "launcher/batch/request_json.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <charconv>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <string_view>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "runtime/base/check.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using nlohmann::json;

// Where a key's value goes: a field of the request, or of one of its parts.
struct Target {
  const FieldDescriptor* part = nullptr;
  const FieldDescriptor* field = nullptr;
};

// Without the fields that mean nothing in a batch.
std::map<std::string, Target> KnownKeys() {
  std::map<std::string, Target> keys;
  const auto& request = *v1::GenerateRequest::descriptor();
  for (int i = 0; i < request.field_count(); ++i) {
    const FieldDescriptor& field = *request.field(i);
    if (field.name() == "model" || field.name() == "request_id") continue;
    const auto* type = field.message_type();
    if (type != v1::SamplingParams::descriptor() && type != v1::Constraint::descriptor()) {
      keys[field.name()] = {.part = nullptr, .field = &field};
      continue;
    }
    for (int k = 0; k < type->field_count(); ++k) {
      keys[type->field(k)->name()] = {.part = &field, .field = type->field(k)};
    }
  }
  return keys;
}

bool IsInt32(const json& value) {
  return value.is_number_integer() &&
         (value.is_number_unsigned()
              ? value.get<uint64_t>() <= uint64_t{std::numeric_limits<int32_t>::max()}
              : value.get<int64_t>() >= std::numeric_limits<int32_t>::min());
}

// What a scalar field holds, for messages.
std::string_view Expected(const FieldDescriptor& field) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return "true or false";
    case FieldDescriptor::CPPTYPE_INT32:
      return "a whole number of 32 bits";
    case FieldDescriptor::CPPTYPE_UINT64:
      return "a whole number of 0 or more";
    case FieldDescriptor::CPPTYPE_FLOAT:
      return "a number";
    default:
      return "text";
  }
}

absl::Status Wrong(std::string_view key, std::string_view expected) {
  return absl::InvalidArgumentError(absl::StrFormat("\"%s\" must be %s", key, expected));
}

// Sets the field, or adds to a repeated one.
absl::Status SetScalar(std::string_view key, const FieldDescriptor& field, const json& value,
                       Message& owner) {
  const Reflection& reflection = *owner.GetReflection();
  const bool adds = field.is_repeated();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      if (!value.is_boolean()) break;
      reflection.SetBool(&owner, &field, value.get<bool>());
      return absl::OkStatus();
    case FieldDescriptor::CPPTYPE_INT32:
      if (!IsInt32(value)) break;
      adds ? reflection.AddInt32(&owner, &field, value.get<int32_t>())
           : reflection.SetInt32(&owner, &field, value.get<int32_t>());
      return absl::OkStatus();
    case FieldDescriptor::CPPTYPE_UINT64:
      if (!value.is_number_unsigned()) break;
      reflection.SetUInt64(&owner, &field, value.get<uint64_t>());
      return absl::OkStatus();
    case FieldDescriptor::CPPTYPE_FLOAT:
      if (!value.is_number()) break;
      reflection.SetFloat(&owner, &field, value.get<float>());
      return absl::OkStatus();
    case FieldDescriptor::CPPTYPE_STRING:
      if (!value.is_string()) break;
      adds ? reflection.AddString(&owner, &field, value.get<std::string>())
           : reflection.SetString(&owner, &field, value.get<std::string>());
      return absl::OkStatus();
    default:
      TRI_CHECK(false) << "inference.proto: " << field.full_name() << " is of a type not read";
  }
  return Wrong(key, adds ? absl::StrFormat("a list, each %s", Expected(field))
                         : std::string(Expected(field)));
}

absl::Status SetList(std::string_view key, const FieldDescriptor& field, const json& value,
                     Message& owner) {
  if (!value.is_array()) return Wrong(key, absl::StrFormat("a list, each %s", Expected(field)));
  for (const json& item : value) TRI_RETURN_IF_ERROR(SetScalar(key, field, item, owner));
  return absl::OkStatus();
}

absl::Status SetLogitBias(const json& value, v1::GenerateRequest& request) {
  constexpr std::string_view kExpected = "an object of token ids and numbers: {\"42\": -1.5}";
  if (!value.is_object()) return Wrong("logit_bias", kExpected);
  for (const auto& [token, bias] : value.items()) {
    int32_t id = 0;
    const char* const end = token.data() + token.size();
    const auto parsed = std::from_chars(token.data(), end, id);
    if (parsed.ec != std::errc() || parsed.ptr != end || !bias.is_number()) {
      return Wrong("logit_bias", kExpected);
    }
    (*request.mutable_logit_bias())[id] = bias.get<float>();
  }
  return absl::OkStatus();
}

absl::Status SetField(const std::string& key, const Target& target, const json& value,
                      v1::GenerateRequest& request) {
  const FieldDescriptor& field = *target.field;
  Message& owner = target.part == nullptr
                       ? static_cast<Message&>(request)
                       : *request.GetReflection()->MutableMessage(&request, target.part);
  owner.GetReflection()->ClearField(&owner, &field);
  if (field.is_map()) return SetLogitBias(value, request);
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
    // A message around one list.
    Message& list = *owner.GetReflection()->MutableMessage(&owner, &field);
    return SetList(key, *list.GetDescriptor()->field(0), value, list);
  }
  if (field.is_repeated()) return SetList(key, field, value, owner);
  if (key == "json_schema" && value.is_object()) {
    return SetScalar(key, field, json(value.dump()), owner);
  }
  return SetScalar(key, field, value, owner);
}

}  // namespace

absl::Status ReadRequestJson(const std::string& text, v1::GenerateRequest& request) {
  const json line = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!line.is_object()) return absl::InvalidArgumentError("a line must be a JSON object");
  const std::map<std::string, Target> known = KnownKeys();
  for (const auto& [key, value] : line.items()) {
    const auto target = known.find(key);
    if (target == known.end()) {
      std::vector<std::string> names;
      for (const auto& [name, unused] : known) names.push_back(name);
      return absl::InvalidArgumentError(
          absl::StrFormat("unknown key \"%s\"; known are %s", key, absl::StrJoin(names, ", ")));
    }
    TRI_RETURN_IF_ERROR(SetField(key, target->second, value, request));
  }
  if (line.contains("prompt") == line.contains("prompt_tokens")) {
    return absl::InvalidArgumentError("a line needs either \"prompt\" or \"prompt_tokens\"");
  }
  return absl::OkStatus();
}

}  // namespace trireme
