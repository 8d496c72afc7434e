// trireme render: conversations → the prompt a model was trained on, as text and ids.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "launcher/command_line.h"
#include "launcher/commands.h"
#include "launcher/exit_codes.h"
#include "runtime/base/status_macros.h"
#include "runtime/text/chat_format.h"
#include "runtime/text/tokenizer.h"

namespace trireme {
namespace {

// Keeps the order of keys: tools are shown to the model as they were given.
using Json = nlohmann::ordered_json;

absl::Status Malformed(std::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrFormat(R"(expected {"messages": [{"role": "…", "content": "…"}, …], "tools": […], )"
                      R"("add_generation_prompt": true, "template_kwargs": {…}}; %s)",
                      what));
}

// {"function": {"name", "arguments"}} or {"name", "arguments"}; arguments as an object or as its
// JSON text.
absl::StatusOr<ChatToolCall> ParseToolCall(const Json& json) {
  const Json& call = json.is_object() && json.contains("function") ? json["function"] : json;
  if (!call.is_object() || !call.contains("name") || !call["name"].is_string() ||
      !call.contains("arguments")) {
    return Malformed("a tool call needs a name and arguments");
  }
  const Json& arguments = call["arguments"];
  return ChatToolCall{
      .name = call["name"].get<std::string>(),
      .arguments_json = arguments.is_string() ? arguments.get<std::string>() : arguments.dump()};
}

absl::StatusOr<ChatMessage> ParseMessage(const Json& json) {
  if (!json.is_object() || !json.contains("role") || !json["role"].is_string()) {
    return Malformed("a message needs a role");
  }
  ChatMessage message;
  message.role = json["role"].get<std::string>();
  if (json.contains("content") && !json["content"].is_null()) {
    if (!json["content"].is_string()) return Malformed("content must be a string");
    message.content = json["content"].get<std::string>();
  }
  if (json.contains("tool_calls") && !json["tool_calls"].is_null()) {
    if (!json["tool_calls"].is_array()) return Malformed("tool_calls must be a list");
    for (const Json& call : json["tool_calls"]) {
      TRI_ASSIGN_OR_RETURN(ChatToolCall parsed, ParseToolCall(call));
      message.tool_calls.push_back(std::move(parsed));
    }
  }
  return message;
}

absl::StatusOr<ChatRequest> ParseRequest(const std::string& line) {
  const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("messages") || !json["messages"].is_array()) {
    return Malformed("messages is missing");
  }
  ChatRequest request;
  for (const Json& message : json["messages"]) {
    TRI_ASSIGN_OR_RETURN(ChatMessage parsed, ParseMessage(message));
    request.messages.push_back(std::move(parsed));
  }
  if (json.contains("tools") && !json["tools"].is_null()) {
    if (!json["tools"].is_array()) return Malformed("tools must be a list or null");
    for (const Json& tool : json["tools"]) request.tools_json.push_back(tool.dump());
  }
  if (json.contains("add_generation_prompt")) {
    if (!json["add_generation_prompt"].is_boolean()) {
      return Malformed("add_generation_prompt must be true or false");
    }
    request.add_generation_prompt = json["add_generation_prompt"].get<bool>();
  }
  if (json.contains("template_kwargs") && json["template_kwargs"].is_object() &&
      json["template_kwargs"].contains("date_string")) {
    const Json& date = json["template_kwargs"]["date_string"];
    if (!date.is_string()) return Malformed("date_string must be a string");
    request.date_string = date.get<std::string>();
  }
  return request;
}

absl::Status RenderLine(const Tokenizer& tokenizer, const ChatFormat& format,
                        const std::string& line) {
  TRI_ASSIGN_OR_RETURN(const ChatRequest request, ParseRequest(line));
  TRI_ASSIGN_OR_RETURN(const RenderedChat rendered, format.Render(request));
  // As the reference tools do it: the rendered text is tokenised as a whole. Serving never parses
  // what people wrote.
  TRI_ASSIGN_OR_RETURN(const std::vector<int32_t> ids,
                       EncodeChat(tokenizer, rendered, /*parse_user=*/true));
  Json out;
  out["text"] = rendered.Text();
  out["ids"] = ids;
  absl::PrintF("%s\n", out.dump(-1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace));
  return absl::OkStatus();
}

}  // namespace

int RunRender(int argc, char** argv) {
  CLI::App app(
      "Prints the prompt that a model's chat format makes of conversations, one JSON line each: "
      "{\"messages\":[…],\"tools\":[…],\"add_generation_prompt\":true,\"template_kwargs\":{}} in, "
      "{\"text\":\"…\",\"ids\":[…]} out.",
      "trireme render");
  std::string model, file;
  app.add_option("--model", model, "checkpoint or shard directory, GGUF or tokenizer file")
      ->required();
  app.add_option("--file", file, "lines to read (default: stdin)");
  app.footer(
      Examples("echo '{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}' | trireme render "
               "--model models/smollm2.gguf",
               "trireme render --model models/llama3 --file chats.jsonl"));
  if (const auto exit = ParseCommandLine(app, argc, argv)) return *exit;

  const auto tokenizer = LoadTokenizer(model);
  if (!tokenizer.ok()) {
    return FailCommand("render", tokenizer.status(),
                       "give --model a directory with tokenizer.json");
  }
  const auto format = MakeChatFormat(**tokenizer);
  if (!format.ok()) return FailCommand("render", format.status(), "use an instruct model");
  const absl::Status status = ForEachLine(
      file, [&](const std::string& line) { return RenderLine(**tokenizer, **format, line); });
  if (!status.ok()) return FailCommand("render", status, "trireme render --help");
  return kExitOk;
}

}  // namespace trireme
