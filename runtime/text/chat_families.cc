#include "runtime/text/chat_families.h"

#include <algorithm>
#include <span>
#include <utility>

#include "absl/strings/str_format.h"
#include "runtime/base/status_macros.h"
#include "runtime/text/json_text.h"

namespace trireme {
namespace {

constexpr std::string_view kDefaultDate = "26 Jul 2024";

// White space beyond ASCII, in UTF-8.
constexpr std::string_view kWideSpaces[] = {
    "\xC2\x85",     "\xC2\xA0",     "\xE1\x9A\x80", "\xE2\x80\x80", "\xE2\x80\x81",
    "\xE2\x80\x82", "\xE2\x80\x83", "\xE2\x80\x84", "\xE2\x80\x85", "\xE2\x80\x86",
    "\xE2\x80\x87", "\xE2\x80\x88", "\xE2\x80\x89", "\xE2\x80\x8A", "\xE2\x80\xA8",
    "\xE2\x80\xA9", "\xE2\x80\xAF", "\xE2\x81\x9F", "\xE3\x80\x80"};

bool IsNarrowSpace(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r') || (c >= 0x1C && c <= 0x1F);
}

bool IsToolRole(const std::string& role) { return role == "tool" || role == "ipython"; }

class ChatMlFormat final : public ChatFormat {
 public:
  // `default_system` opens a conversation that has no system message; "" for none.
  ChatMlFormat(std::string_view name, std::string_view default_system)
      : name_(name), default_system_(default_system) {}

  std::string_view name() const override { return name_; }
  bool supports_tools() const override { return false; }
  std::vector<std::string> stop_tokens() const override { return {"<|im_end|>"}; }

  absl::StatusOr<RenderedChat> Render(const ChatRequest& request) const override {
    TRI_RETURN_IF_ERROR(CheckMessages(request));
    ChatWriter chat;
    if (!default_system_.empty() && request.messages.front().role != "system") {
      chat.Frame("<|im_start|>system\n").Frame(default_system_).Frame("<|im_end|>\n");
    }
    for (const ChatMessage& message : request.messages) {
      if (IsToolRole(message.role) || !message.tool_calls.empty()) {
        return absl::InvalidArgumentError(
            "the model's chat format has no tools; send system, user and assistant messages "
            "without tool calls");
      }
      chat.Frame("<|im_start|>").Frame(message.role).Frame("\n");
      chat.User(message.content).Frame("<|im_end|>\n");
    }
    if (request.add_generation_prompt) chat.Frame("<|im_start|>assistant\n");
    return std::move(chat).Take();
  }

 private:
  const std::string_view name_;
  const std::string_view default_system_;
};

// What Llama 3 and Llama 4 have in common: a header names the role, tool definitions go into the
// first user message, and tool results come back as "ipython".
class LlamaFormat : public ChatFormat {
 public:
  bool supports_tools() const override { return true; }

  absl::StatusOr<RenderedChat> Render(const ChatRequest& request) const override {
    TRI_RETURN_IF_ERROR(CheckMessages(request));
    std::span<const ChatMessage> messages = request.messages;
    const ChatMessage* system = nullptr;
    if (messages.front().role == "system") {
      system = &messages.front();
      messages = messages.subspan(1);
    }
    ChatWriter chat;
    chat.Frame("<|begin_of_text|>");
    WriteSystem(request, system, chat);
    if (!request.tools_json.empty()) {
      if (messages.empty()) {
        return absl::InvalidArgumentError(
            "tools are described in the first user message, and there is none; add a user message");
      }
      TRI_RETURN_IF_ERROR(WriteTools(request, messages.front(), chat));
      messages = messages.subspan(1);
    }
    for (const ChatMessage& message : messages) {
      if (!message.tool_calls.empty()) {
        TRI_RETURN_IF_ERROR(WriteToolCalls(message, chat));
      } else if (IsToolRole(message.role)) {
        // The template prints results as JSON, and a text is a JSON string.
        Header("ipython", chat).User(QuoteJson(message.content)).Frame(end_of_turn());
      } else {
        Header(message.role, chat).User(Content(message)).Frame(end_of_turn());
      }
    }
    if (request.add_generation_prompt) Header("assistant", chat);
    return std::move(chat).Take();
  }

 protected:
  virtual ChatWriter& Header(std::string_view role, ChatWriter& chat) const = 0;
  virtual std::string_view end_of_turn() const = 0;
  // `system` is nullptr when the conversation has no system message.
  virtual void WriteSystem(const ChatRequest& request, const ChatMessage* system,
                           ChatWriter& chat) const = 0;
  // What of a system, user or assistant message the model sees.
  virtual std::string_view Content(const ChatMessage& message) const = 0;
  virtual absl::Status WriteToolCalls(const ChatMessage& message, ChatWriter& chat) const = 0;

  static absl::Status WriteToolCall(const ChatToolCall& call, ChatWriter& chat) {
    TRI_ASSIGN_OR_RETURN(const std::string arguments, ReformatJson(call.arguments_json, 0));
    if (!arguments.starts_with('{')) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "the arguments of the call of tool \"%s\" are not a JSON object", call.name));
    }
    chat.Frame("{\"name\": \"").User(call.name).Frame("\", \"parameters\": ");
    chat.User(arguments).Frame("}");
    return absl::OkStatus();
  }

 private:
  absl::Status WriteTools(const ChatRequest& request, const ChatMessage& first_user,
                          ChatWriter& chat) const {
    Header("user", chat)
        .Frame(
            "Given the following functions, please respond with a JSON for a function call "
            "with its proper arguments that best answers the given prompt.\n\n"
            "Respond in the format {\"name\": function name, \"parameters\": dictionary of "
            "argument name and its value}.Do not use variables.\n\n");
    for (const std::string& tool : request.tools_json) {
      TRI_ASSIGN_OR_RETURN(const std::string shown, ReformatJson(tool, 4));
      chat.User(shown).Frame("\n\n");
    }
    chat.User(TrimLikePython(first_user.content)).Frame(end_of_turn());
    return absl::OkStatus();
  }
};

class Llama3Format final : public LlamaFormat {
 public:
  std::string_view name() const override { return "llama3"; }
  std::vector<std::string> stop_tokens() const override { return {"<|eot_id|>", "<|eom_id|>"}; }

 protected:
  ChatWriter& Header(std::string_view role, ChatWriter& chat) const override {
    return chat.Frame("<|start_header_id|>").Frame(role).Frame("<|end_header_id|>\n\n");
  }
  std::string_view end_of_turn() const override { return "<|eot_id|>"; }

  void WriteSystem(const ChatRequest& request, const ChatMessage* system,
                   ChatWriter& chat) const override {
    Header("system", chat);
    if (!request.tools_json.empty()) chat.Frame("Environment: ipython\n");
    chat.Frame("Cutting Knowledge Date: December 2023\nToday Date: ");
    chat.User(request.date_string.empty() ? kDefaultDate : request.date_string).Frame("\n\n");
    if (system != nullptr) chat.User(TrimLikePython(system->content));
    chat.Frame(end_of_turn());
  }

  std::string_view Content(const ChatMessage& message) const override {
    return TrimLikePython(message.content);
  }

  absl::Status WriteToolCalls(const ChatMessage& message, ChatWriter& chat) const override {
    if (message.tool_calls.size() != 1) {
      return absl::InvalidArgumentError(
          absl::StrFormat("a message calls %d tools; the model's chat format allows one a message",
                          message.tool_calls.size()));
    }
    Header("assistant", chat);
    TRI_RETURN_IF_ERROR(WriteToolCall(message.tool_calls.front(), chat));
    chat.Frame(end_of_turn());
    return absl::OkStatus();
  }
};

class Llama4Format final : public LlamaFormat {
 public:
  std::string_view name() const override { return "llama4"; }
  std::vector<std::string> stop_tokens() const override { return {"<|eot|>", "<|eom|>"}; }

 protected:
  ChatWriter& Header(std::string_view role, ChatWriter& chat) const override {
    return chat.Frame("<|header_start|>").Frame(role).Frame("<|header_end|>\n\n");
  }
  std::string_view end_of_turn() const override { return "<|eot|>"; }

  void WriteSystem(const ChatRequest& request, const ChatMessage* system,
                   ChatWriter& chat) const override {
    if (system == nullptr) return;
    Header("system", chat);
    if (!request.tools_json.empty()) chat.Frame("Environment: ipython\n");
    chat.User(TrimLikePython(system->content)).Frame(end_of_turn());
  }

  std::string_view Content(const ChatMessage& message) const override { return message.content; }

  absl::Status WriteToolCalls(const ChatMessage& message, ChatWriter& chat) const override {
    Header("assistant", chat).Frame("<|python_start|>").User(message.content);
    chat.Frame("<|python_end|>");
    for (const ChatToolCall& call : message.tool_calls) {
      TRI_RETURN_IF_ERROR(WriteToolCall(call, chat));
    }
    chat.Frame(end_of_turn());
    return absl::OkStatus();
  }
};

}  // namespace

std::unique_ptr<ChatFormat> MakeChatMlFormat() {
  return std::make_unique<ChatMlFormat>("chatml", "");
}
std::unique_ptr<ChatFormat> MakeSmolLm2Format() {
  return std::make_unique<ChatMlFormat>(
      "chatml-smollm2", "You are a helpful AI assistant named SmolLM, trained by Hugging Face");
}
std::unique_ptr<ChatFormat> MakeLlama3Format() { return std::make_unique<Llama3Format>(); }
std::unique_ptr<ChatFormat> MakeLlama4Format() { return std::make_unique<Llama4Format>(); }

ChatWriter& ChatWriter::Append(std::string_view text, bool from_user) {
  if (text.empty()) return *this;
  if (chat_.runs.empty() || chat_.runs.back().from_user != from_user) {
    chat_.runs.push_back({.text = "", .from_user = from_user});
  }
  chat_.runs.back().text += text;
  return *this;
}

absl::Status CheckMessages(const ChatRequest& request) {
  if (request.messages.empty()) {
    return absl::InvalidArgumentError("a chat needs at least one message; found none");
  }
  for (const ChatMessage& message : request.messages) {
    const bool known = message.role == "system" || message.role == "user" ||
                       message.role == "assistant" || IsToolRole(message.role);
    if (!known) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "unknown role \"%s\"; expected system, user, assistant, tool or ipython", message.role));
    }
    if (message.role != "assistant" && !message.tool_calls.empty()) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "a message of role \"%s\" has tool calls; expected them of the assistant only",
          message.role));
    }
  }
  return absl::OkStatus();
}

std::string_view TrimLikePython(std::string_view text) {
  for (bool trimmed = true; trimmed && !text.empty();) {
    trimmed = IsNarrowSpace(text.front());
    if (trimmed) text.remove_prefix(1);
    for (const std::string_view space : kWideSpaces) {
      if (!text.starts_with(space)) continue;
      text.remove_prefix(space.size());
      trimmed = true;
    }
  }
  for (bool trimmed = true; trimmed && !text.empty();) {
    trimmed = IsNarrowSpace(text.back());
    if (trimmed) text.remove_suffix(1);
    for (const std::string_view space : kWideSpaces) {
      if (!text.ends_with(space)) continue;
      text.remove_suffix(space.size());
      trimmed = true;
    }
  }
  return text;
}

}  // namespace trireme
