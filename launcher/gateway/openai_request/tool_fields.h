// Tools in a request: what may be called, whether it must be, and what was called before.
#pragma once

#include "launcher/gateway/openai_request/json_fields.h"
#include "launcher/gateway/openai_request/request_reader.h"

namespace trireme {

// One of an assistant's earlier calls.
absl::Status ReadToolCall(const Json& call, v1::ToolCall& out);

// tools and tool_choice. "none" leaves the tools out; "required", or one by name, makes the
// completion a call by a constraint, so that it is one whatever the model would rather say.
absl::Status ReadTools(const Json& body, ChatCall& call);

}  // namespace trireme
