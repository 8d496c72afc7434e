#include "launcher/gateway/openai_request/tool_fields.h"

#include <algorithm>

#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

// OpenAI's rule: letters, digits, '_' and '-' (and the '.' of namespaces), at most 64.
bool IsToolName(std::string_view name) {
  return !name.empty() && name.size() <= 64 && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.';
  });
}

struct Tool {
  std::string name;
  Json parameters;  // a schema; null: none given
};

absl::StatusOr<Tool> ReadTool(const Json& json) {
  std::string type;
  if (!json.is_object()) return WrongField("tools", "a list of objects");
  TRI_RETURN_IF_ERROR(ReadText(json, "type", type));
  const Json* function = FindField(json, "function");
  if (type != "function" || function == nullptr || !function->is_object()) {
    return WrongField("tools", "tools of type function, each with a function");
  }
  Tool tool;
  TRI_RETURN_IF_ERROR(ReadText(*function, "name", tool.name));
  if (!IsToolName(tool.name)) {
    return WrongField("tools.function.name", "1 to 64 letters, digits, '_', '-' and '.'");
  }
  if (const Json* parameters = FindField(*function, "parameters")) {
    if (!parameters->is_object()) return WrongField("tools.function.parameters", "a JSON schema");
    tool.parameters = *parameters;
  }
  return tool;
}

// What a call looks like in the JSON form, which every Llama format shares.
Json SchemaOfCall(const Tool& tool) {
  Json schema;
  schema["type"] = "object";
  schema["properties"]["name"]["const"] = tool.name;
  Json& parameters = schema["properties"]["parameters"];
  parameters = tool.parameters.is_null() || tool.parameters.empty() ? Json{{"type", "object"}}
                                                                    : tool.parameters;
  schema["required"] = {"name", "parameters"};
  schema["additionalProperties"] = false;
  return schema;
}

// The name that tool_choice asks for; "" for any.
absl::StatusOr<std::string> NamedTool(const Json& choice) {
  std::string name;
  const Json* function = FindField(choice, "function");
  if (function == nullptr) return WrongField("tool_choice", "none, auto, required or a function");
  TRI_RETURN_IF_ERROR(ReadText(*function, "name", name));
  return name;
}

absl::Status Require(const std::vector<Tool>& tools, const std::string& name, ChatCall& call) {
  if (call.request.constraint().kind_case() != v1::Constraint::KIND_NOT_SET) {
    return WrongField("response_format", "none where tool_choice asks for a call");
  }
  Json schemas = Json::array();
  for (const Tool& tool : tools) {
    if (name.empty() || tool.name == name) schemas.push_back(SchemaOfCall(tool));
  }
  if (schemas.empty()) return WrongField("tool_choice", "a function that is among the tools");
  // `$defs` of a tool's schema stand where it is; a call's schema is the root wherever it can be.
  call.request.mutable_constraint()->set_json_schema(
      Dump(schemas.size() == 1 ? schemas.front() : Json{{"anyOf", schemas}}));
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadToolCall(const Json& call, v1::ToolCall& out) {
  const Json* function = FindField(call, "function");
  if (function == nullptr) return WrongField("messages.tool_calls", "calls with a function");
  TRI_RETURN_IF_ERROR(ReadText(*function, "name", *out.mutable_name()));
  TRI_RETURN_IF_ERROR(ReadText(*function, "arguments", *out.mutable_arguments_json()));
  if (!IsToolName(out.name())) return WrongField("messages.tool_calls", "the name of a function");
  return absl::OkStatus();
}

absl::Status ReadTools(const Json& body, ChatCall& call) {
  const Json* choice = FindField(body, "tool_choice");
  const Json* list = FindField(body, "tools");
  std::vector<Tool> tools;
  if (list != nullptr) {
    if (!list->is_array()) return WrongField("tools", "a list of objects");
    for (const Json& json : *list) {
      TRI_ASSIGN_OR_RETURN(Tool tool, ReadTool(json));
      tools.push_back(std::move(tool));
    }
  }
  if (choice != nullptr && *choice == "none") return absl::OkStatus();
  if (tools.empty()) {
    if (choice == nullptr || *choice == "auto") return absl::OkStatus();
    return WrongField("tool_choice", "none or auto where there are no tools");
  }
  for (const Json& json : *list) call.request.add_tools_json(Dump(json));
  for (const Tool& tool : tools) call.form.tools.push_back(tool.name);
  if (choice == nullptr || *choice == "auto") return absl::OkStatus();
  if (*choice == "required") return Require(tools, "", call);
  TRI_ASSIGN_OR_RETURN(const std::string name, NamedTool(*choice));
  if (name.empty()) return WrongField("tool_choice.function.name", "the name of a tool");
  return Require(tools, name, call);
}

}  // namespace trireme
