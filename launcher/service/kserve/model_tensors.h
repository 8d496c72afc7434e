// The tensors by which KServe's clients speak to a language model: text in, text out, and what
// rules the one in between, under the names that Triton's back ends for such models use. This is
// the one table of them: metadata, configuration and the reading of requests derive from it.
//
//   text_input BYTES [1]              the prompt; special-token text in it is ordinary text
//   stream BOOL                       many responses, each with the text since the last
//   exclude_input_in_output BOOL      text_output without the prompt; default: as `stream`. The two
//                                     cannot differ where `stream` is true
//   sampling_parameters BYTES [1]     a JSON object with the names of a GenerateRequest; numbers
//   may
//                                     be written as text
//   max_tokens, temperature, …        fields of GenerateRequest; they win over sampling_parameters
//
// Where a request says nothing: max_tokens is 16, and the rest as in GenerateRequest.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "kserve/inference.pb.h"

namespace trireme {

inline constexpr char kModelVersion[] = "1";  // of every model here
inline constexpr int32_t kDefaultMaxTokens = 16;

enum class TensorKind { kText, kInteger, kReal, kFlag };

struct InputTensor {
  std::string_view name;
  TensorKind kind = TensorKind::kText;
  // Of GenerateRequest or SamplingParams; "": it has a meaning of its own (infer_request.h).
  std::string_view field;
  bool shown = false;  // in metadata; the others are further names for the same
  bool list = false;   // any number of elements; else one
};

std::span<const InputTensor> InputTensors();
// Nullptr: there is none of that name.
const InputTensor* FindInputTensor(std::string_view name);
std::string_view ExpectedDatatype(TensorKind kind);

// What a client may ask for.
struct OutputTensor {
  std::string_view name;
  std::string_view datatype;
  bool always = false;  // also where the request names no outputs
};
inline constexpr std::string_view kTextOutput = "text_output";
inline constexpr std::string_view kFinishReason = "finish_reason";
inline constexpr std::string_view kInputTokens = "num_input_tokens";
inline constexpr std::string_view kOutputTokens = "num_output_tokens";
std::span<const OutputTensor> OutputTensors();

inference::ModelMetadataResponse ModelMetadataOf(const std::string& name);
inference::ModelConfig ModelConfigOf(const std::string& name);

}  // namespace trireme
