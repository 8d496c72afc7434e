#include "launcher/service/kserve/infer_request.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "launcher/service/kserve/tensor_reader.h"
#include "runtime/base/status_macros.h"
#include "runtime/checkpoint/strict_json.h"
#include "runtime/text/detokenizer.h"

namespace trireme {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using nlohmann::json;

constexpr JsonLimits kParameterLimits{.max_bytes = 64 << 10, .max_depth = 4};

absl::Status Wrong(std::string_view name, std::string_view expected) {
  return absl::InvalidArgumentError(absl::StrFormat("%s: expected %s", name, expected));
}

// A whole number in any of the forms that clients write it in.
template <typename T>
std::optional<T> Whole(const TensorValue& value) {
  if (const auto* number = std::get_if<int64_t>(&value)) {
    return std::in_range<T>(*number) ? std::optional<T>(static_cast<T>(*number)) : std::nullopt;
  }
  if (const auto* number = std::get_if<uint64_t>(&value)) {
    return std::in_range<T>(*number) ? std::optional<T>(static_cast<T>(*number)) : std::nullopt;
  }
  if (const auto* number = std::get_if<double>(&value)) {
    constexpr double kExact = 1LL << 53;  // larger ones may stand for their neighbours
    if (!(std::abs(*number) <= kExact) || std::trunc(*number) != *number) return std::nullopt;
    return Whole<T>(static_cast<int64_t>(*number));
  }
  if (const auto* text = std::get_if<std::string>(&value)) {
    T number;
    if (absl::SimpleAtoi(*text, &number)) return number;
  }
  return std::nullopt;
}

std::optional<float> Real(const TensorValue& value) {
  if (const auto* number = std::get_if<int64_t>(&value)) return static_cast<float>(*number);
  if (const auto* number = std::get_if<uint64_t>(&value)) return static_cast<float>(*number);
  double number = 0;
  if (const auto* given = std::get_if<double>(&value)) {
    number = *given;
  } else if (const auto* text = std::get_if<std::string>(&value);
             text == nullptr || !absl::SimpleAtod(*text, &number)) {
    return std::nullopt;
  }
  constexpr double kMost = std::numeric_limits<float>::max();
  if (std::isfinite(number) && std::abs(number) > kMost) return std::nullopt;
  return static_cast<float>(number);
}

absl::Status SetText(std::string_view name, const FieldDescriptor& field, const TensorValue& value,
                     Message& owner) {
  const auto* text = std::get_if<std::string>(&value);
  if (text == nullptr || !IsValidUtf8(*text)) return Wrong(name, "text in UTF-8");
  const Reflection& reflection = *owner.GetReflection();
  field.is_repeated() ? reflection.AddString(&owner, &field, *text)
                      : reflection.SetString(&owner, &field, *text);
  return absl::OkStatus();
}

// Sets a field, or adds to a repeated one; what may be in it is admission's business.
absl::Status SetField(std::string_view name, const FieldDescriptor& field, const TensorValue& value,
                      Message& owner) {
  const Reflection& reflection = *owner.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL: {
      const auto* flag = std::get_if<bool>(&value);
      if (flag == nullptr) return Wrong(name, "true or false");
      reflection.SetBool(&owner, &field, *flag);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_INT32: {
      const auto number = Whole<int32_t>(value);
      if (!number.has_value()) return Wrong(name, "a whole number of 32 bits");
      field.is_repeated() ? reflection.AddInt32(&owner, &field, *number)
                          : reflection.SetInt32(&owner, &field, *number);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_UINT64: {
      const auto number = Whole<uint64_t>(value);
      if (!number.has_value()) return Wrong(name, "a whole number of 0 or more");
      reflection.SetUInt64(&owner, &field, *number);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_FLOAT: {
      const auto number = Real(value);
      if (!number.has_value()) return Wrong(name, "a number");
      reflection.SetFloat(&owner, &field, *number);
      return absl::OkStatus();
    }
    default:
      return SetText(name, field, value, owner);
  }
}

// Puts values into the field of GenerateRequest, or of its sampling, that is called so.
absl::Status SetNamed(std::string_view name, std::string_view field_name,
                      const std::vector<TensorValue>& values, v1::GenerateRequest& request) {
  const std::string key(field_name);
  Message* owner = &request;
  const FieldDescriptor* field = request.GetDescriptor()->FindFieldByName(key);
  if (field == nullptr) {
    owner = request.mutable_sampling();
    field = owner->GetDescriptor()->FindFieldByName(key);
  }
  owner->GetReflection()->ClearField(owner, field);
  for (const TensorValue& value : values)
    TRI_RETURN_IF_ERROR(SetField(name, *field, value, *owner));
  return absl::OkStatus();
}

// Names in sampling_parameters, as vLLM calls them, and their fields.
constexpr std::pair<std::string_view, std::string_view> kParameters[] = {
    {"max_tokens", "max_tokens"},
    {"min_tokens", "min_tokens"},
    {"temperature", "temperature"},
    {"top_k", "top_k"},
    {"top_p", "top_p"},
    {"min_p", "min_p"},
    {"seed", "seed"},
    {"repetition_penalty", "repetition_penalty"},
    {"presence_penalty", "presence_penalty"},
    {"frequency_penalty", "frequency_penalty"},
    {"stop", "stop"},
    {"stop_token_ids", "stop_tokens"},
    {"ignore_eos", "ignore_eos"},
    {"n", "n"},
};

std::optional<TensorValue> ScalarOf(const json& value) {
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_number_unsigned()) return value.get<uint64_t>();
  if (value.is_number_integer()) return value.get<int64_t>();
  if (value.is_number()) return value.get<double>();
  if (value.is_string()) return value.get<std::string>();
  return std::nullopt;
}

absl::Status SetParameter(const std::string& key, const json& value, v1::GenerateRequest& request) {
  const auto* known = std::ranges::find(
      kParameters, key, [](const auto& parameter) { return std::string(parameter.first); });
  if (known == std::end(kParameters)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "sampling_parameters: a key is not known here; known are %s",
        absl::StrJoin(kParameters, ", ", [](std::string* out, const auto& parameter) {
          out->append(parameter.first);
        })));
  }
  const std::string name = absl::StrFormat("sampling_parameters.%s", key);
  // vLLM writes "off" so.
  if (key == "top_k" && value == -1) return SetNamed(name, "top_k", {int64_t{0}}, request);
  const bool list = known->second == "stop" || known->second == "stop_tokens";
  std::vector<TensorValue> values;
  const auto take = [&](const json& item) {
    std::optional<TensorValue> scalar = ScalarOf(item);
    if (scalar.has_value()) values.push_back(*std::move(scalar));
    return scalar.has_value();
  };
  if (list && value.is_array()) {
    for (const json& item : value) {
      if (!take(item)) return Wrong(name, "a list of texts or numbers");
    }
  } else if (!take(value)) {
    return Wrong(name, "a number, a text, or true or false");
  }
  return SetNamed(name, known->second, values, request);
}

absl::Status SetParameters(const std::string& text, v1::GenerateRequest& request) {
  constexpr std::string_view kName = "sampling_parameters";
  if (text.empty()) return absl::OkStatus();
  const auto parameters = ParseStrictJson(text, kName, kParameterLimits);
  if (!parameters.ok() || !parameters->is_object()) {
    return Wrong(kName, absl::StrFormat("a JSON object of at most %d bytes and %d levels, no key "
                                        "twice",
                                        kParameterLimits.max_bytes, kParameterLimits.max_depth));
  }
  for (const auto& [key, value] : parameters->items()) {
    if (value.is_null()) continue;
    TRI_RETURN_IF_ERROR(SetParameter(key, value, request));
  }
  return absl::OkStatus();
}

// The tensors with a meaning of their own.
struct Wishes {
  std::optional<bool> stream;
  std::optional<bool> exclude_input;
};

absl::Status TakeTensor(const ReadTensor& tensor, Wishes& wishes, InferRequest& request) {
  const std::string_view name = tensor.input->name;
  if (!tensor.input->field.empty()) {
    return SetNamed(name, tensor.input->field, tensor.values, request.generate);
  }
  if (name == "sampling_parameters") return absl::OkStatus();  // before all others
  const TensorValue& value = tensor.values.front();
  if (name == "beam_width") {
    if (Whole<int32_t>(value) == 1) return absl::OkStatus();
    return Wrong(name, "1: there is no beam search here");
  }
  const bool flag = std::get<bool>(value);
  if (name == "stream" || name == "streaming") {
    if (wishes.stream.value_or(flag) != flag) return Wrong(name, "the same as stream");
    wishes.stream = flag;
  } else if (name == "exclude_input_in_output") {
    wishes.exclude_input = flag;
  } else if (name == "return_finish_reason") {
    request.form.finish_reason |= flag;
  } else if (name == "return_num_input_tokens") {
    request.form.input_tokens |= flag;
  } else {
    request.form.output_tokens |= flag;
  }
  return absl::OkStatus();
}

absl::Status ReadOutputs(const inference::ModelInferRequest& request, ReplyForm& form) {
  const bool none = request.outputs_size() == 0;
  form.text = form.finish_reason = none;
  for (int i = 0; i < request.outputs_size(); ++i) {
    const auto& output = request.outputs(i);
    if (output.parameters().contains("shared_memory_region") ||
        output.parameters().contains("classification")) {
      return absl::UnimplementedError(
          absl::StrFormat("outputs[%d]: shared memory and classification are not supported", i));
    }
    if (output.name() == kTextOutput) {
      form.text = true;
    } else if (output.name() == kFinishReason) {
      form.finish_reason = true;
    } else if (output.name() == kInputTokens) {
      form.input_tokens = true;
    } else if (output.name() == kOutputTokens) {
      form.output_tokens = true;
    } else {
      return absl::InvalidArgumentError(absl::StrFormat(
          "outputs[%d]: no tensor of that name is made; known are %s", i,
          absl::StrJoin(OutputTensors(), ", ", [](std::string* out, const OutputTensor& known) {
            out->append(known.name);
          })));
    }
  }
  return absl::OkStatus();
}

absl::Status ReadParameters(const inference::ModelInferRequest& request, InferRequest& out) {
  for (const auto& [key, value] : request.parameters()) {
    if (key == "timeout") {
      const int64_t us = value.has_uint64_param() && std::in_range<int64_t>(value.uint64_param())
                             ? static_cast<int64_t>(value.uint64_param())
                             : value.int64_param();
      if (us < 0) return Wrong("parameters.timeout", "microseconds, 0 or more");
      // 0 stands for none.
      if (us > 0)
        out.timeout = std::chrono::ceil<std::chrono::milliseconds>(std::chrono::microseconds(us));
    } else if (key == "priority" && value.uint64_param() == 0 && value.int64_param() == 0) {
      continue;
    } else if (key == "priority" || key.starts_with("sequence_")) {
      return absl::UnimplementedError(
          "parameters: sequences and priorities are not supported; leave them out");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<InferRequest> ReadInferRequest(const inference::ModelInferRequest& request) {
  if (!request.model_version().empty() && request.model_version() != kModelVersion) {
    return absl::NotFoundError(
        absl::StrFormat("model_version: every model here has version %s alone", kModelVersion));
  }
  InferRequest out;
  out.form.model = request.model_name();
  out.form.id = request.id();
  out.form.raw = request.raw_input_contents_size() > 0;
  TRI_RETURN_IF_ERROR(ReadOutputs(request, out.form));
  TRI_RETURN_IF_ERROR(ReadParameters(request, out));
  TRI_ASSIGN_OR_RETURN(const std::vector<ReadTensor> tensors, ReadTensors(request));
  out.generate.set_model(request.model_name());
  out.generate.set_max_tokens(kDefaultMaxTokens);
  for (const ReadTensor& tensor : tensors) {
    if (tensor.input->name != "sampling_parameters") continue;
    TRI_RETURN_IF_ERROR(SetParameters(std::get<std::string>(tensor.values.front()), out.generate));
  }
  Wishes wishes;
  for (const ReadTensor& tensor : tensors) TRI_RETURN_IF_ERROR(TakeTensor(tensor, wishes, out));
  if (!out.generate.has_prompt()) return Wrong("text_input", "a tensor of that name; got none");
  out.stream = wishes.stream.value_or(false);
  if (out.stream && wishes.exclude_input == false) {
    return Wrong("exclude_input_in_output", "true, or nothing, of a stream");
  }
  out.generate.set_echo(!wishes.exclude_input.value_or(out.stream));
  return out;
}

}  // namespace trireme
