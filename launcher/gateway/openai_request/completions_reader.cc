#include "launcher/gateway/openai_request/request_reader.h"
#include "launcher/gateway/openai_request/shared_fields.h"

namespace trireme {
namespace {

constexpr std::string_view kExpectedPrompt =
    "a text, a list of texts, a list of token ids, or a list of lists of token ids";

absl::Status AddPrompt(const Json& prompt, v1::GenerateRequest request, CompletionsCall& call) {
  if (prompt.is_string()) {
    request.set_prompt(prompt.get<std::string>());
  } else if (prompt.is_array()) {
    TRI_RETURN_IF_ERROR(
        ReadTokenIds(prompt, "prompt", *request.mutable_prompt_tokens()->mutable_ids()));
  } else {
    return WrongField("prompt", kExpectedPrompt);
  }
  call.requests.push_back(std::move(request));
  return absl::OkStatus();
}

absl::Status AddPrompts(const Json& body, const v1::GenerateRequest& request,
                        CompletionsCall& call) {
  const Json* prompt = FindField(body, "prompt");
  if (prompt == nullptr) return WrongField("prompt", kExpectedPrompt);
  const bool is_list = prompt->is_array() && !prompt->empty() && !prompt->front().is_number();
  if (!is_list) return AddPrompt(*prompt, request, call);
  if (prompt->size() > kMaxPrompts) return WrongField("prompt", "at most 128 prompts");
  for (const Json& one : *prompt) TRI_RETURN_IF_ERROR(AddPrompt(one, request, call));
  return absl::OkStatus();
}

absl::Status RefuseUnsupported(const Json& body) {
  if (const Json* suffix = FindField(body, "suffix");
      suffix != nullptr && !(suffix->is_string() && suffix->get<std::string>().empty())) {
    return absl::InvalidArgumentError(
        "suffix: not supported: the model continues texts and does not fill gaps; leave it out");
  }
  int32_t best_of = 1, n = 1;
  TRI_RETURN_IF_ERROR(ReadWhole<int32_t>(body, "best_of", [&](int32_t value) { best_of = value; }));
  TRI_RETURN_IF_ERROR(ReadWhole<int32_t>(body, "n", [&](int32_t value) { n = value; }));
  if (best_of == n || best_of == 1) return absl::OkStatus();
  return absl::InvalidArgumentError("best_of: not supported; ask for n completions instead");
}

}  // namespace

absl::StatusOr<CompletionsCall> ReadCompletionsCall(std::string_view text) {
  TRI_ASSIGN_OR_RETURN(const Json body, ParseBody(text));
  TRI_RETURN_IF_ERROR(RefuseUnsupported(body));
  CompletionsCall call;
  v1::GenerateRequest request;
  TRI_RETURN_IF_ERROR(ReadShared(body, request, call.form));
  bool echo = false;
  TRI_RETURN_IF_ERROR(ReadBool(body, "echo", echo));
  request.set_echo(echo);
  request.set_max_tokens(16);  // OpenAI's default
  TRI_RETURN_IF_ERROR(ReadWhole<int32_t>(body, "max_tokens",
                                         [&](int32_t count) { request.set_max_tokens(count); }));
  if (request.max_tokens() == 0 && echo) {
    // The engine always makes a token; nobody asked to see it.
    call.form.score_only = true;
    request.set_max_tokens(1);
  }
  TRI_RETURN_IF_ERROR(ReadWhole<int32_t>(body, "logprobs", [&](int32_t count) {
    call.form.logprobs = true;
    request.set_logprobs(count);
    request.set_prompt_logprobs(echo);
  }));
  TRI_RETURN_IF_ERROR(AddPrompts(body, request, call));
  return call;
}

}  // namespace trireme
