#include "launcher/request/admission.h"

#include <algorithm>
#include <limits>
#include <random>
#include <span>

#include "absl/strings/str_format.h"
#include "launcher/request/field_checks.h"
#include "launcher/request/params_proto.h"
#include "runtime/base/status_macros.h"
#include "runtime/sampling/sampler.h"

namespace trireme {
namespace {

absl::Status CheckModel(const std::string& asked, const ServedModel& model) {
  if (asked.empty() || asked == model.name) return absl::OkStatus();
  return absl::NotFoundError(absl::StrFormat(
      "model: this coordinator serves '%s' only; leave model empty or ask for it", model.name));
}

absl::Status CheckLogitBias(const std::vector<TokenBias>& biases, int64_t vocabulary) {
  TRI_RETURN_IF_ERROR(CheckCount("logit_bias", biases.size(), {.most = kMaxLogitBiases}));
  int64_t banned = 0;
  for (const TokenBias& bias : biases) {
    TRI_RETURN_IF_ERROR(CheckIds("logit_bias", std::span(&bias.token, 1), vocabulary));
    if (bias.bias == -std::numeric_limits<float>::infinity()) {
      ++banned;
    } else {
      TRI_RETURN_IF_ERROR(CheckRange(absl::StrFormat("logit_bias[%d]", bias.token), bias.bias,
                                     -kMaxLogitBias, kMaxLogitBias));
    }
  }
  if (banned < vocabulary) return absl::OkStatus();
  return absl::InvalidArgumentError("logit_bias: expected a token that may be drawn; got none");
}

absl::Status CheckConstraint(const v1::Constraint& constraint) {
  switch (constraint.kind_case()) {
    case v1::Constraint::kJsonObject:
      if (constraint.json_object()) return absl::OkStatus();
      return absl::InvalidArgumentError(
          "constraint.json_object: expected true; got false; leave it out instead");
    case v1::Constraint::kJsonSchema:
      return CheckBytes("constraint.json_schema", constraint.json_schema(),
                        {.least = 1, .most = kMaxSchemaBytes});
    case v1::Constraint::kRegex:
      return CheckBytes("constraint.regex", constraint.regex(),
                        {.least = 1, .most = kMaxRegexBytes});
    case v1::Constraint::kChoices:
      return CheckTexts("constraint.choices", constraint.choices().values(),
                        {.least = 1, .most = kMaxConstraintChoices},
                        {.least = 1, .most = kMaxConstraintChoiceBytes});
    case v1::Constraint::KIND_NOT_SET:
      break;
  }
  return absl::OkStatus();
}

// What a client says of how its completion ends.
template <typename RequestProto>
absl::Status AdmitEnds(const RequestProto& request, const ServedModel& model, Request& out) {
  TRI_RETURN_IF_ERROR(
      CheckCount("stop_tokens", request.stop_tokens().size(), {.most = kMaxStopTokens}));
  out.stop_tokens.assign(request.stop_tokens().begin(), request.stop_tokens().end());
  TRI_RETURN_IF_ERROR(CheckIds("stop_tokens", out.stop_tokens, model.vocabulary));
  TRI_RETURN_IF_ERROR(CheckTexts("stop", request.stop(), {.most = kMaxStopStrings},
                                 {.least = 1, .most = kMaxStopStringBytes}));
  out.stop_strings.assign(request.stop().begin(), request.stop().end());
  TRI_RETURN_IF_ERROR(CheckConstraint(request.constraint()));
  out.grammar = FromProto(request.constraint());
  out.min_tokens = request.min_tokens();  // against max_tokens: CheckLengths
  return absl::OkStatus();
}

// The fields that Generate and Chat share.
template <typename RequestProto>
absl::StatusOr<AcceptedRequest> AdmitShared(const RequestProto& request, const ServedModel& model,
                                            const AdmissionDefaults& defaults) {
  TRI_RETURN_IF_ERROR(CheckModel(request.model(), model));
  AcceptedRequest accepted;
  accepted.id = request.request_id().empty() ? defaults.id : request.request_id();
  TRI_RETURN_IF_ERROR(CheckBytes("request_id", accepted.id, {.most = kMaxRequestIdBytes}));
  Request& out = accepted.request;
  out.sampling = FromProto(request.sampling());
  if (!request.sampling().has_seed()) out.sampling.seed = defaults.seed;
  TRI_RETURN_IF_ERROR(CheckSampling(out.sampling));
  out.logit_bias = BiasesOf(request.logit_bias());
  TRI_RETURN_IF_ERROR(CheckLogitBias(out.logit_bias, model.vocabulary));
  TRI_RETURN_IF_ERROR(AdmitEnds(request, model, out));
  if (request.has_logprobs()) {
    TRI_RETURN_IF_ERROR(CheckRange("logprobs", request.logprobs(), 0, defaults.max_logprobs));
    out.num_logprobs = request.logprobs();
  }
  if (request.has_n()) {
    TRI_RETURN_IF_ERROR(CheckRange("n", request.n(), 1, kMaxCompletions));
    accepted.choices = request.n();
  }
  TRI_RETURN_IF_ERROR(CheckRange("priority", request.priority(), -kMaxPriority, kMaxPriority));
  out.priority = request.priority();
  TRI_RETURN_IF_ERROR(CheckBytes("tenant", request.tenant(), {.most = kMaxTenantBytes}));
  out.tenant = request.tenant();
  return accepted;
}

void AddModelStopTokens(const ServedModel& model, Request& request) {
  for (const int32_t stop : model.stop_tokens) {
    if (std::ranges::find(request.stop_tokens, stop) == request.stop_tokens.end()) {
      request.stop_tokens.push_back(stop);
    }
  }
}

// Takes max_tokens as asked; prompt and min_tokens are already in `out`.
absl::Status CheckLengths(int32_t max_tokens, const ServedModel& model, Request& out) {
  if (out.prompt.empty()) {
    return absl::InvalidArgumentError("prompt: expected at least one token; got an empty prompt");
  }
  if (max_tokens <= 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("max_tokens: expected at least 1; got %d", max_tokens));
  }
  const auto prompt_tokens = static_cast<int64_t>(out.prompt.size());
  if (model.max_positions > 0 && prompt_tokens + max_tokens > model.max_positions) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "max_tokens: prompt and completion must fit the context of %d tokens; got %d + %d; shorten "
        "the prompt or ask for fewer tokens",
        model.max_positions, prompt_tokens, max_tokens));
  }
  out.max_tokens = max_tokens;
  return CheckRange("min_tokens", out.min_tokens, 0, max_tokens);
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

absl::Status AdmitAs(const Principal& caller, AcceptedRequest& accepted) {
  if (caller.quota == nullptr) return absl::OkStatus();
  accepted.request.tenant = caller.tenant;
  const auto prompt_tokens = static_cast<int64_t>(accepted.request.prompt.size());
  TRI_ASSIGN_OR_RETURN(accepted.lease, caller.quota->Enter(prompt_tokens, accepted.choices));
  return absl::OkStatus();
}

absl::Status CheckSampling(const SamplingParams& params) {
  const struct {
    const char* field;
    float value, low, high;
  } ranges[] = {
      {"temperature", params.temperature, 0, kMaxTemperature},
      {"top_p", params.top_p, std::numeric_limits<float>::min(), 1},
      {"min_p", params.min_p, 0, 1},
      {"repetition_penalty", params.repetition_penalty, kMinRepetitionPenalty,
       kMaxRepetitionPenalty},
      {"frequency_penalty", params.frequency_penalty, -kMaxPenalty, kMaxPenalty},
      {"presence_penalty", params.presence_penalty, -kMaxPenalty, kMaxPenalty},
  };
  for (const auto& [field, value, low, high] : ranges) {
    TRI_RETURN_IF_ERROR(CheckRange(absl::StrFormat("sampling.%s", field), value, low, high));
  }
  if (params.top_k >= 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("sampling.top_k: expected 0 (off) or more; got %d", params.top_k));
}

uint64_t DrawSeed() {
  std::random_device device;
  return (static_cast<uint64_t>(device()) << 32) | device();
}

Request ChoiceOf(const AcceptedRequest& accepted, int32_t choice) {
  Request request = accepted.request;
  request.sequence = static_cast<uint32_t>(choice);
  request.prompt_logprobs = accepted.request.prompt_logprobs && choice == 0;
  return request;
}

absl::StatusOr<AcceptedRequest> AdmitGenerate(const v1::GenerateRequest& request,
                                              const ServedModel& model, const Tokenizer* tokenizer,
                                              const AdmissionDefaults& defaults) {
  TRI_ASSIGN_OR_RETURN(AcceptedRequest accepted, AdmitShared(request, model, defaults));
  Request& out = accepted.request;
  if (tokenizer == nullptr && (request.has_prompt() || request.echo() || request.stop_size() > 0)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s: the model has no tokenizer files; give the prompt as token ids, and ask for no text",
        request.has_prompt() ? "prompt" : (request.echo() ? "echo" : "stop")));
  }
  switch (request.input_case()) {
    case v1::GenerateRequest::kPrompt: {
      TRI_RETURN_IF_ERROR(CheckTextSize(request.prompt().size(), model));
      TRI_ASSIGN_OR_RETURN(out.prompt, tokenizer->Encode(request.prompt(), defaults.special));
      if (request.echo()) accepted.echo = request.prompt();
      break;
    }
    case v1::GenerateRequest::kPromptTokens:
      out.prompt.assign(request.prompt_tokens().ids().begin(), request.prompt_tokens().ids().end());
      TRI_RETURN_IF_ERROR(CheckIds("prompt_tokens", out.prompt, model.vocabulary));
      if (request.echo()) accepted.echo = tokenizer->Decode(out.prompt);
      break;
    case v1::GenerateRequest::INPUT_NOT_SET:
      return absl::InvalidArgumentError("input: expected prompt or prompt_tokens; got neither");
  }
  TRI_RETURN_IF_ERROR(CheckLengths(request.max_tokens(), model, out));
  out.prompt_logprobs = request.prompt_logprobs();
  if (!request.ignore_eos()) AddModelStopTokens(model, out);
  return accepted;
}

absl::StatusOr<AcceptedRequest> AdmitChat(const v1::ChatRequest& request, const ServedModel& model,
                                          const Tokenizer& tokenizer, const ChatFormat& format,
                                          const AdmissionDefaults& defaults) {
  TRI_ASSIGN_OR_RETURN(AcceptedRequest accepted, AdmitShared(request, model, defaults));
  Request& out = accepted.request;
  TRI_RETURN_IF_ERROR(
      CheckCount("messages", request.messages().size(), {.least = 1, .most = kMaxChatMessages}));
  TRI_RETURN_IF_ERROR(CheckCount("tools_json", request.tools_json().size(), {.most = kMaxTools}));
  if (request.tools_json_size() > 0 && !format.supports_tools()) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "tools_json: expected none: the chat format '%s' knows no tools", format.name()));
  }
  size_t bytes = 0;
  for (const v1::ChatMessage& message : request.messages()) bytes += message.content().size();
  TRI_RETURN_IF_ERROR(CheckTextSize(bytes, model));
  TRI_ASSIGN_OR_RETURN(const RenderedChat rendered, format.Render(ToChatRequest(request)));
  TRI_ASSIGN_OR_RETURN(out.prompt, EncodeChat(tokenizer, rendered, /*parse_user=*/false));

  int64_t max_tokens = request.max_tokens();
  if (max_tokens == 0) {
    if (model.max_positions == 0)
      return absl::UnavailableError("no worker group is ready; try again");
    max_tokens = model.max_positions - static_cast<int64_t>(out.prompt.size());
    if (max_tokens <= 0) {
      return absl::InvalidArgumentError(
          absl::StrFormat("messages: the conversation has %d tokens and leaves no room in the "
                          "context of %d; shorten it",
                          out.prompt.size(), model.max_positions));
    }
  }
  TRI_RETURN_IF_ERROR(CheckLengths(static_cast<int32_t>(max_tokens), model, out));
  if (request.ignore_eos()) return accepted;
  for (const std::string& text : format.stop_tokens()) {
    const std::optional<int32_t> stop = tokenizer.SpecialId(text);
    if (stop.has_value()) out.stop_tokens.push_back(*stop);
  }
  AddModelStopTokens(model, out);
  return accepted;
}

}  // namespace trireme
