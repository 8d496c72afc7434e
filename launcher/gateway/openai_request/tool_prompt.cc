#include "launcher/gateway/openai_request/tool_prompt.h"

#include <string>

#include "launcher/gateway/openai_request/json_fields.h"

namespace trireme {
namespace {

std::string Description(const v1::ChatRequest& request) {
  std::string text =
      "You can call these functions. To call one, reply with nothing but a JSON object: "
      "{\"name\": the function's name, \"parameters\": an object of its arguments}.\n";
  for (const std::string& tool : request.tools_json()) text += "\n" + tool + "\n";
  return text;
}

void ShowAsText(v1::ChatMessage& message) {
  for (const v1::ToolCall& call : message.tool_calls()) {
    Json shown;
    shown["name"] = call.name();
    const Json arguments = Json::parse(call.arguments_json(), nullptr, /*allow_exceptions=*/false);
    shown["parameters"] = arguments.is_object() ? arguments : Json::object();
    if (!message.content().empty()) message.mutable_content()->append("\n");
    message.mutable_content()->append(Dump(shown));
  }
  message.clear_tool_calls();
  if (message.role() != "tool") return;
  message.set_role("user");
  message.set_content("The function returned: " + message.content());
}

}  // namespace

void DescribeTools(v1::ChatRequest& request) {
  for (v1::ChatMessage& message : *request.mutable_messages()) ShowAsText(message);
  if (request.tools_json().empty()) return;
  std::string text = Description(request);
  request.clear_tools_json();
  if (request.messages_size() > 0 && request.messages(0).role() == "system") {
    request.mutable_messages(0)->mutable_content()->append("\n\n" + text);
    return;
  }
  v1::ChatMessage* system = request.add_messages();
  system->set_role("system");
  system->set_content(std::move(text));
  for (int i = request.messages_size() - 1; i > 0; --i) {
    request.mutable_messages()->SwapElements(i, i - 1);
  }
}

}  // namespace trireme
