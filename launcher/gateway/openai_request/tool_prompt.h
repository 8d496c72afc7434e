// Tools for models whose chat format knows none: they are described in the system message, and past
// calls and their results are shown as texts, in the JSON form that ToolCallParser reads.
#pragma once

#include "trireme/v1/inference.pb.h"

namespace trireme {

// Leaves a request without tools_json, tool calls and tool messages.
void DescribeTools(v1::ChatRequest& request);

}  // namespace trireme
