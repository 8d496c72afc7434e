#include <cstdint>
#include <string_view>

#include "launcher/gateway/openai_request/request_reader.h"
#include "launcher/gateway/openai_request/tool_prompt.h"
#include "runtime/base/check.h"

// The body of a chat, or (first byte 'p') of completions. What is refused is refused as the
// client's fault, and what is accepted can be said again.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view body(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] == 'p') {
    const auto call = trireme::ReadCompletionsCall(body);
    TRI_CHECK(call.ok() || absl::IsInvalidArgument(call.status())) << call.status().ToString();
    if (call.ok()) TRI_CHECK(!call->requests.empty());
    return 0;
  }
  auto call = trireme::ReadChatCall(body);
  TRI_CHECK(call.ok() || absl::IsInvalidArgument(call.status())) << call.status().ToString();
  if (!call.ok()) return 0;
  trireme::DescribeTools(call->request);
  TRI_CHECK(call->request.tools_json().empty());
  TRI_CHECK(!call->request.SerializeAsString().empty());
  return 0;
}
