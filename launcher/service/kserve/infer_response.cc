#include "launcher/service/kserve/infer_response.h"

#include <bit>
#include <cstring>
#include <vector>

#include "launcher/service/kserve/model_tensors.h"

namespace trireme {
namespace {

static_assert(std::endian::native == std::endian::little, "raw contents are little-endian");

void AppendRaw(uint32_t value, std::string& raw) {
  char bytes[sizeof(value)];
  std::memcpy(bytes, &value, sizeof(value));
  raw.append(bytes, sizeof(value));
}

class TensorWriter {
 public:
  TensorWriter(bool raw, inference::ModelInferResponse& response)
      : raw_(raw), response_(response) {}

  void Texts(std::string_view name, const std::vector<std::string>& texts) {
    auto& tensor = Add(name, "BYTES", texts.size());
    if (raw_) {
      std::string& raw = *response_.add_raw_output_contents();
      for (const std::string& text : texts) {
        AppendRaw(static_cast<uint32_t>(text.size()), raw);
        raw.append(text);
      }
      return;
    }
    for (const std::string& text : texts) tensor.mutable_contents()->add_bytes_contents(text);
  }

  void Counts(std::string_view name, const std::vector<uint32_t>& counts) {
    auto& tensor = Add(name, "UINT32", counts.size());
    if (raw_) {
      std::string& raw = *response_.add_raw_output_contents();
      for (const uint32_t count : counts) AppendRaw(count, raw);
      return;
    }
    tensor.mutable_contents()->mutable_uint_contents()->Add(counts.begin(), counts.end());
  }

 private:
  inference::ModelInferResponse::InferOutputTensor& Add(std::string_view name,
                                                        std::string_view datatype,
                                                        size_t elements) {
    auto& tensor = *response_.add_outputs();
    tensor.set_name(std::string(name));
    tensor.set_datatype(std::string(datatype));
    tensor.add_shape(static_cast<int64_t>(elements));
    return tensor;
  }

  const bool raw_;
  inference::ModelInferResponse& response_;
};

std::string NameOf(v1::FinishReason reason) {
  if (reason == v1::FINISH_REASON_UNSPECIFIED) return "";
  return reason == v1::FINISH_REASON_STOP ? "stop" : "length";
}

}  // namespace

inference::ModelInferResponse MakeInferResponse(const ReplyForm& form,
                                                const v1::GenerateResponse& chunk, int32_t choices,
                                                int64_t input_tokens) {
  const auto count = static_cast<size_t>(choices);
  std::vector<std::string> texts(count), reasons(count);
  std::vector<uint32_t> tokens(count);
  const auto take = [&](const v1::GenerateResponse& part) {
    const size_t choice = part.choice();
    texts[choice] = part.text();
    reasons[choice] = NameOf(part.finish_reason());
    tokens[choice] = static_cast<uint32_t>(part.tokens_size());
  };
  if (chunk.choices().empty()) {
    take(chunk);
  } else {
    for (const v1::GenerateResponse& part : chunk.choices()) take(part);
  }
  inference::ModelInferResponse response;
  response.set_model_name(form.model);
  response.set_model_version(kModelVersion);
  response.set_id(form.id);
  TensorWriter writer(form.raw, response);
  if (form.text) writer.Texts(kTextOutput, texts);
  if (form.finish_reason) writer.Texts(kFinishReason, reasons);
  if (form.input_tokens) writer.Counts(kInputTokens, {static_cast<uint32_t>(input_tokens)});
  if (form.output_tokens) writer.Counts(kOutputTokens, tokens);
  return response;
}

void SetFinal(bool final, inference::ModelInferResponse& response) {
  (*response.mutable_parameters())["triton_final_response"].set_bool_param(final);
}

}  // namespace trireme
