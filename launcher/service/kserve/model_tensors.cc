#include "launcher/service/kserve/model_tensors.h"

namespace trireme {
namespace {

constexpr char kPlatform[] = "trireme";

constexpr InputTensor kInputs[] = {
    {.name = "text_input", .kind = TensorKind::kText, .field = "prompt", .shown = true},
    {.name = "stream", .kind = TensorKind::kFlag, .shown = true},
    {.name = "sampling_parameters", .kind = TensorKind::kText, .shown = true},
    {.name = "exclude_input_in_output", .kind = TensorKind::kFlag, .shown = true},
    {.name = "max_tokens", .kind = TensorKind::kInteger, .field = "max_tokens", .shown = true},
    {.name = "min_tokens", .kind = TensorKind::kInteger, .field = "min_tokens", .shown = true},
    {.name = "temperature", .kind = TensorKind::kReal, .field = "temperature", .shown = true},
    {.name = "top_k", .kind = TensorKind::kInteger, .field = "top_k", .shown = true},
    {.name = "top_p", .kind = TensorKind::kReal, .field = "top_p", .shown = true},
    {.name = "min_p", .kind = TensorKind::kReal, .field = "min_p", .shown = true},
    {.name = "seed", .kind = TensorKind::kInteger, .field = "seed", .shown = true},
    {.name = "repetition_penalty",
     .kind = TensorKind::kReal,
     .field = "repetition_penalty",
     .shown = true},
    {.name = "presence_penalty",
     .kind = TensorKind::kReal,
     .field = "presence_penalty",
     .shown = true},
    {.name = "frequency_penalty",
     .kind = TensorKind::kReal,
     .field = "frequency_penalty",
     .shown = true},
    {.name = "stop_words", .kind = TensorKind::kText, .field = "stop", .shown = true, .list = true},
    {.name = "ignore_eos", .kind = TensorKind::kFlag, .field = "ignore_eos", .shown = true},
    {.name = "streaming", .kind = TensorKind::kFlag},
    {.name = "min_length", .kind = TensorKind::kInteger, .field = "min_tokens"},
    {.name = "runtime_top_k", .kind = TensorKind::kInteger, .field = "top_k"},
    {.name = "runtime_top_p", .kind = TensorKind::kReal, .field = "top_p"},
    {.name = "random_seed", .kind = TensorKind::kInteger, .field = "seed"},
    {.name = "end_id", .kind = TensorKind::kInteger, .field = "stop_tokens", .list = true},
    {.name = "beam_width", .kind = TensorKind::kInteger},
    {.name = "return_finish_reason", .kind = TensorKind::kFlag},
    {.name = "return_num_input_tokens", .kind = TensorKind::kFlag},
    {.name = "return_num_output_tokens", .kind = TensorKind::kFlag},
};

constexpr OutputTensor kOutputs[] = {
    {.name = kTextOutput, .datatype = "BYTES", .always = true},
    {.name = kFinishReason, .datatype = "BYTES", .always = true},
    {.name = kInputTokens, .datatype = "UINT32"},
    {.name = kOutputTokens, .datatype = "UINT32"},
};

inference::DataType ConfiguredType(std::string_view datatype) {
  if (datatype == "BYTES") return inference::TYPE_STRING;
  if (datatype == "INT32") return inference::TYPE_INT32;
  if (datatype == "UINT32") return inference::TYPE_UINT32;
  return datatype == "FP32" ? inference::TYPE_FP32 : inference::TYPE_BOOL;
}

}  // namespace

std::span<const InputTensor> InputTensors() { return kInputs; }

const InputTensor* FindInputTensor(std::string_view name) {
  for (const InputTensor& input : kInputs) {
    if (input.name == name) return &input;
  }
  return nullptr;
}

std::string_view ExpectedDatatype(TensorKind kind) {
  switch (kind) {
    case TensorKind::kText:
      return "BYTES";
    case TensorKind::kInteger:
      return "INT32";
    case TensorKind::kReal:
      return "FP32";
    case TensorKind::kFlag:
      return "BOOL";
  }
  return "";
}

std::span<const OutputTensor> OutputTensors() { return kOutputs; }

inference::ModelMetadataResponse ModelMetadataOf(const std::string& name) {
  inference::ModelMetadataResponse metadata;
  metadata.set_name(name);
  metadata.add_versions(kModelVersion);
  metadata.set_platform(kPlatform);
  for (const InputTensor& input : kInputs) {
    if (!input.shown) continue;
    auto* tensor = metadata.add_inputs();
    tensor->set_name(std::string(input.name));
    tensor->set_datatype(std::string(ExpectedDatatype(input.kind)));
    tensor->add_shape(input.list ? -1 : 1);
  }
  for (const OutputTensor& output : kOutputs) {
    auto* tensor = metadata.add_outputs();
    tensor->set_name(std::string(output.name));
    tensor->set_datatype(std::string(output.datatype));
    tensor->add_shape(-1);
  }
  return metadata;
}

inference::ModelConfig ModelConfigOf(const std::string& name) {
  inference::ModelConfig config;
  config.set_name(name);
  config.set_platform(kPlatform);
  config.set_backend(kPlatform);
  config.mutable_model_transaction_policy()->set_decoupled(true);
  for (const InputTensor& input : kInputs) {
    if (!input.shown) continue;
    inference::ModelInput* tensor = config.add_input();
    tensor->set_name(std::string(input.name));
    tensor->set_data_type(ConfiguredType(ExpectedDatatype(input.kind)));
    tensor->add_dims(input.list ? -1 : 1);
    tensor->set_optional(input.field != "prompt");
  }
  for (const OutputTensor& output : kOutputs) {
    inference::ModelOutput* tensor = config.add_output();
    tensor->set_name(std::string(output.name));
    tensor->set_data_type(ConfiguredType(output.datatype));
    tensor->add_dims(-1);
  }
  return config;
}

}  // namespace trireme
