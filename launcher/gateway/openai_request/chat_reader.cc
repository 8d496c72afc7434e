#include "absl/strings/str_format.h"
#include "launcher/gateway/openai_request/request_reader.h"
#include "launcher/gateway/openai_request/shared_fields.h"
#include "launcher/gateway/openai_request/tool_fields.h"

namespace trireme {
namespace {

// A text, or a list of parts of which only texts are understood.
absl::Status ReadContent(const Json& message, std::string& out) {
  const Json* content = FindField(message, "content");
  if (content == nullptr) return absl::OkStatus();
  if (content->is_string()) {
    out = content->get<std::string>();
    return absl::OkStatus();
  }
  if (!content->is_array()) return WrongField("messages.content", "a text or a list of parts");
  for (const Json& part : *content) {
    const Json* type = FindField(part, "type");
    const Json* text = FindField(part, "text");
    if (type == nullptr || *type != "text" || text == nullptr || !text->is_string()) {
      return WrongField("messages.content", "parts of type text only: this server reads no others");
    }
    out += text->get<std::string>();
  }
  return absl::OkStatus();
}

absl::Status ReadMessage(const Json& message, v1::ChatMessage& out) {
  if (!message.is_object()) return WrongField("messages", "a list of objects");
  std::string role;
  TRI_RETURN_IF_ERROR(ReadText(message, "role", role));
  if (role == "developer") role = "system";
  constexpr std::string_view kRoles[] = {"system", "user", "assistant", "tool"};
  if (std::ranges::find(kRoles, role) == std::end(kRoles)) {
    return WrongField("messages.role", "system, developer, user, assistant or tool");
  }
  out.set_role(role);
  TRI_RETURN_IF_ERROR(ReadContent(message, *out.mutable_content()));
  const Json* calls = FindField(message, "tool_calls");
  if (FindField(message, "content") == nullptr && calls == nullptr) {
    return WrongField("messages.content", "a text or a list of parts");
  }
  if (calls == nullptr) return absl::OkStatus();
  if (!calls->is_array()) return WrongField("messages.tool_calls", "a list of calls");
  for (const Json& call : *calls) TRI_RETURN_IF_ERROR(ReadToolCall(call, *out.add_tool_calls()));
  return absl::OkStatus();
}

absl::Status ReadMessages(const Json& body, v1::ChatRequest& request) {
  const Json* messages = FindField(body, "messages");
  if (messages == nullptr || !messages->is_array() || messages->empty()) {
    return WrongField("messages", "a list of at least one message");
  }
  for (const Json& message : *messages) {
    TRI_RETURN_IF_ERROR(ReadMessage(message, *request.add_messages()));
  }
  return absl::OkStatus();
}

absl::Status ReadLogprobs(const Json& body, ChatCall& call) {
  TRI_RETURN_IF_ERROR(ReadBool(body, "logprobs", call.form.logprobs));
  if (call.form.logprobs) call.request.set_logprobs(0);
  const bool wanted = call.form.logprobs;
  bool given = false;
  TRI_RETURN_IF_ERROR(ReadWhole<int32_t>(body, "top_logprobs", [&](int32_t count) {
    given = count != 0;
    if (wanted) call.request.set_logprobs(count);
  }));
  if (given && !wanted) return WrongField("top_logprobs", "none without logprobs: true");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ChatCall> ReadChatCall(std::string_view text) {
  TRI_ASSIGN_OR_RETURN(const Json body, ParseBody(text));
  ChatCall call;
  TRI_RETURN_IF_ERROR(ReadShared(body, call.request, call.form));
  TRI_RETURN_IF_ERROR(ReadMessages(body, call.request));
  TRI_RETURN_IF_ERROR(ReadLogprobs(body, call));
  // The newer name wins; 0 is ours for "what there is room for", and no client's.
  for (const std::string_view name : {"max_tokens", "max_completion_tokens"}) {
    if (FindField(body, name) == nullptr) continue;
    TRI_RETURN_IF_ERROR(
        ReadWhole<int32_t>(body, name, [&](int32_t count) { call.request.set_max_tokens(count); }));
    if (call.request.max_tokens() <= 0) return WrongField(name, "at least 1");
  }
  TRI_RETURN_IF_ERROR(ReadTools(body, call));
  return call;
}

}  // namespace trireme
