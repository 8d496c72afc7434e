#include <cstdint>
#include <string>
#include <string_view>

#include "runtime/base/check.h"
#include "runtime/text/tools/tool_calls.h"

namespace {

using Found = trireme::ToolCallParser::Found;

Found Parse(std::string_view text, size_t cut) {
  trireme::ToolCallParser parser({"f", "g.h"});
  Found all = parser.Push(text.substr(0, cut));
  for (const Found& more : {parser.Push(text.substr(cut)), parser.Finish()}) {
    all.content += more.content;
    all.calls.insert(all.calls.end(), more.calls.begin(), more.calls.end());
  }
  return all;
}

}  // namespace

// The first byte is where the rest is cut: that must not matter, and text without calls is kept.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const Found whole = Parse(text, text.size());
  const Found cut = Parse(text, text.empty() ? 0 : data[0] % text.size());
  TRI_CHECK(whole.content == cut.content && whole.calls.size() == cut.calls.size());
  for (size_t i = 0; i < whole.calls.size(); ++i) {
    TRI_CHECK(whole.calls[i].name == cut.calls[i].name);
    TRI_CHECK(whole.calls[i].arguments_json == cut.calls[i].arguments_json);
  }
  if (whole.calls.empty()) TRI_CHECK(whole.content == text);
  return 0;
}
