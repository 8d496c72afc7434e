#include "launcher/request/admission.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "absl/strings/str_format.h"
#include "launcher/request/limits.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

absl::Status CheckModel(const std::string& asked, const ServedModel& model) {
  if (asked.empty() || asked == model.name) return absl::OkStatus();
  return absl::NotFoundError(absl::StrFormat(
      "model: this coordinator serves '%s' only; leave model empty or ask for it", model.name));
}

absl::Status CheckIds(std::string_view field, std::span<const int32_t> ids, int64_t vocabulary) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= vocabulary) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "%s[%d]: expected an id from 0 to %d; got %d", field, i, vocabulary - 1, ids[i]));
    }
  }
  return absl::OkStatus();
}

// !(a <= x && x <= b) is true for NaN too.
absl::Status CheckRange(std::string_view field, float value, float low, float high) {
  if (low <= value && value <= high) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("%s: expected a number from %g to %g; got %g", field, low, high, value));
}

// The fields that Generate and Chat share.
template <typename RequestProto>
absl::StatusOr<AcceptedRequest> AdmitShared(const RequestProto& request, const ServedModel& model,
                                            const AdmissionDefaults& defaults) {
  TRI_RETURN_IF_ERROR(CheckModel(request.model(), model));
  AcceptedRequest accepted;
  accepted.id = request.request_id().empty() ? defaults.id : request.request_id();
  if (accepted.id.size() > kMaxRequestIdBytes) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "request_id: expected at most %d bytes; got %d", kMaxRequestIdBytes, accepted.id.size()));
  }
  TRI_ASSIGN_OR_RETURN(accepted.sampling, AdmitSampling(request.sampling(), defaults.seed));
  if (static_cast<size_t>(request.stop_tokens_size()) > kMaxStopTokens) {
    return absl::InvalidArgumentError(absl::StrFormat("stop_tokens: expected at most %d; got %d",
                                                      kMaxStopTokens, request.stop_tokens_size()));
  }
  accepted.stop_tokens.assign(request.stop_tokens().begin(), request.stop_tokens().end());
  TRI_RETURN_IF_ERROR(CheckIds("stop_tokens", accepted.stop_tokens, model.vocabulary));
  if (request.has_logprobs()) {
    if (request.logprobs() < 0 || request.logprobs() > kMaxLogprobs) {
      return absl::InvalidArgumentError(
          absl::StrFormat("logprobs: expected 0 to %d; got %d", kMaxLogprobs, request.logprobs()));
    }
    accepted.num_logprobs = request.logprobs();
  }
  return accepted;
}

void AddModelStopTokens(const ServedModel& model, AcceptedRequest& accepted) {
  for (const int32_t stop : model.stop_tokens) {
    if (std::ranges::find(accepted.stop_tokens, stop) == accepted.stop_tokens.end()) {
      accepted.stop_tokens.push_back(stop);
    }
  }
}

// Takes max_tokens as asked; the prompt is already in `accepted`.
absl::Status CheckLengths(int32_t max_tokens, const ServedModel& model, AcceptedRequest& accepted) {
  if (accepted.prompt.empty()) {
    return absl::InvalidArgumentError("prompt: expected at least one token; got an empty prompt");
  }
  if (max_tokens <= 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("max_tokens: expected at least 1; got %d", max_tokens));
  }
  const auto prompt_tokens = static_cast<int64_t>(accepted.prompt.size());
  if (model.max_positions > 0 && prompt_tokens + max_tokens > model.max_positions) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "max_tokens: prompt and completion must fit the context of %d tokens; got %d + %d; shorten "
        "the prompt or ask for fewer tokens",
        model.max_positions, prompt_tokens, max_tokens));
  }
  accepted.max_tokens = max_tokens;
  return absl::OkStatus();
}

// A token stands for at most this many bytes in no vocabulary we know; a longer text cannot fit the
// context, and is refused before the work of tokenising it.
absl::Status CheckTextSize(size_t bytes, const ServedModel& model) {
  constexpr int64_t kMaxTokenBytes = 256;
  if (model.max_positions > 0 &&
      static_cast<int64_t>(bytes) > model.max_positions * kMaxTokenBytes) {
    return absl::InvalidArgumentError(
        absl::StrFormat("prompt: %d bytes cannot fit the context of %d tokens; shorten the prompt",
                        bytes, model.max_positions));
  }
  return absl::OkStatus();
}

ChatRequest ToChatRequest(const v1::ChatRequest& request) {
  ChatRequest chat;
  for (const v1::ChatMessage& message : request.messages()) {
    ChatMessage& out = chat.messages.emplace_back();
    out.role = message.role();
    out.content = message.content();
    for (const v1::ToolCall& call : message.tool_calls()) {
      out.tool_calls.push_back({.name = call.name(), .arguments_json = call.arguments_json()});
    }
  }
  chat.tools_json.assign(request.tools_json().begin(), request.tools_json().end());
  return chat;
}

}  // namespace

absl::StatusOr<SamplingParams> AdmitSampling(const v1::SamplingParams& sampling,
                                             uint64_t fallback_seed) {
  SamplingParams params;
  if (sampling.has_temperature()) params.temperature = sampling.temperature();
  if (sampling.has_top_k()) params.top_k = sampling.top_k();
  if (sampling.has_top_p()) params.top_p = sampling.top_p();
  if (sampling.has_min_p()) params.min_p = sampling.min_p();
  params.seed = sampling.has_seed() ? sampling.seed() : fallback_seed;
  TRI_RETURN_IF_ERROR(CheckRange("sampling.temperature", params.temperature, 0, kMaxTemperature));
  if (params.top_k < 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("sampling.top_k: expected 0 (off) or more; got %d", params.top_k));
  }
  TRI_RETURN_IF_ERROR(
      CheckRange("sampling.top_p", params.top_p, std::numeric_limits<float>::min(), 1));
  TRI_RETURN_IF_ERROR(CheckRange("sampling.min_p", params.min_p, 0, 1));
  return params;
}

absl::StatusOr<AcceptedRequest> AdmitGenerate(const v1::GenerateRequest& request,
                                              const ServedModel& model, const Tokenizer& tokenizer,
                                              const AdmissionDefaults& defaults) {
  TRI_ASSIGN_OR_RETURN(AcceptedRequest accepted, AdmitShared(request, model, defaults));
  switch (request.input_case()) {
    case v1::GenerateRequest::kPrompt: {
      TRI_RETURN_IF_ERROR(CheckTextSize(request.prompt().size(), model));
      TRI_ASSIGN_OR_RETURN(accepted.prompt,
                           tokenizer.Encode(request.prompt(), SpecialTokens::kAsText));
      break;
    }
    case v1::GenerateRequest::kPromptTokens:
      accepted.prompt.assign(request.prompt_tokens().ids().begin(),
                             request.prompt_tokens().ids().end());
      TRI_RETURN_IF_ERROR(CheckIds("prompt_tokens", accepted.prompt, model.vocabulary));
      break;
    case v1::GenerateRequest::INPUT_NOT_SET:
      return absl::InvalidArgumentError("input: expected prompt or prompt_tokens; got neither");
  }
  TRI_RETURN_IF_ERROR(CheckLengths(request.max_tokens(), model, accepted));
  if (!request.ignore_eos()) AddModelStopTokens(model, accepted);
  return accepted;
}

absl::StatusOr<AcceptedRequest> AdmitChat(const v1::ChatRequest& request, const ServedModel& model,
                                          const Tokenizer& tokenizer, const ChatFormat& format,
                                          const AdmissionDefaults& defaults) {
  TRI_ASSIGN_OR_RETURN(AcceptedRequest accepted, AdmitShared(request, model, defaults));
  const auto num_messages = static_cast<size_t>(request.messages_size());
  if (num_messages == 0 || num_messages > kMaxChatMessages) {
    return absl::InvalidArgumentError(
        absl::StrFormat("messages: expected 1 to %d; got %d", kMaxChatMessages, num_messages));
  }
  if (static_cast<size_t>(request.tools_json_size()) > kMaxTools) {
    return absl::InvalidArgumentError(absl::StrFormat("tools_json: expected at most %d; got %d",
                                                      kMaxTools, request.tools_json_size()));
  }
  if (request.tools_json_size() > 0 && !format.supports_tools()) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "tools_json: expected none: the chat format '%s' knows no tools", format.name()));
  }
  size_t bytes = 0;
  for (const v1::ChatMessage& message : request.messages()) bytes += message.content().size();
  TRI_RETURN_IF_ERROR(CheckTextSize(bytes, model));
  TRI_ASSIGN_OR_RETURN(const RenderedChat rendered, format.Render(ToChatRequest(request)));
  TRI_ASSIGN_OR_RETURN(accepted.prompt, EncodeChat(tokenizer, rendered, /*parse_user=*/false));

  int64_t max_tokens = request.max_tokens();
  if (max_tokens == 0) {
    if (model.max_positions == 0)
      return absl::UnavailableError("no worker group is ready; try again");
    max_tokens = model.max_positions - static_cast<int64_t>(accepted.prompt.size());
    if (max_tokens <= 0) {
      return absl::InvalidArgumentError(
          absl::StrFormat("messages: the conversation has %d tokens and leaves no room in the "
                          "context of %d; shorten it",
                          accepted.prompt.size(), model.max_positions));
    }
  }
  TRI_RETURN_IF_ERROR(CheckLengths(static_cast<int32_t>(max_tokens), model, accepted));
  for (const std::string& text : format.stop_tokens()) {
    const std::optional<int32_t> stop = tokenizer.SpecialId(text);
    if (stop.has_value()) accepted.stop_tokens.push_back(*stop);
  }
  AddModelStopTokens(model, accepted);
  return accepted;
}

}  // namespace trireme
