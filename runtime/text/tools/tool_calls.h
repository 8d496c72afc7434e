// Calls of tools in what a model writes. Models were trained on several forms; a turn is taken for
// calls only where it begins with one of them and names a tool that was offered, and everything
// else stays text, byte for byte:
//
//   {"name": "f", "parameters": {…}}       Llama 3 and 4 (also "arguments"); several follow each
//                                          other, with ';', ',' or blanks between, or in a list
//   [f(a=1, b="x"), g()]                   Llama 4, Python's literals as arguments
//   <function=f>{…}</function>             Llama 3's form for tools of one's own
//
// any of them after <|python_tag|> or between <|python_start|> and <|python_end|>, where those are
// shown. Text arrives piece by piece; what may become a call is held back until it is one, or
// cannot be one any more. A pure function of the text: however it is cut, the calls are the same.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "runtime/text/chat_format.h"

namespace trireme {

class ToolCallParser {
 public:
  struct Found {
    std::string content;              // text for the reader
    std::vector<ChatToolCall> calls;  // arguments as JSON, in one line
  };

  // The names of tools that may be called.
  explicit ToolCallParser(std::vector<std::string> tools) : tools_(std::move(tools)) {}

  Found Push(std::string_view piece);
  // At the text's end: what was held back.
  Found Finish();

  // Deeper arguments are no call.
  static constexpr int kMaxDepth = 64;

 private:
  enum class State { kUndecided, kCalls, kText };

  void Scan(bool at_end, Found& found);

  const std::vector<std::string> tools_;
  State state_ = State::kUndecided;
  std::string held_;  // not yet given out
};

}  // namespace trireme
