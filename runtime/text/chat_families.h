// The chat formats themselves, one class a family, and the run builder they share. Callers use
// chat_format.h, which chooses among them.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "runtime/text/chat_format.h"

namespace trireme {

// ChatML: "<|im_start|>role\n content <|im_end|>\n" a message. SmolLM2's variant opens with a
// system message of its own where the conversation has none.
std::unique_ptr<ChatFormat> MakeChatMlFormat();
std::unique_ptr<ChatFormat> MakeSmolLm2Format();

// Llama 3.1 to 3.3, whose published templates are one text; and Llama 4.
std::unique_ptr<ChatFormat> MakeLlama3Format();
std::unique_ptr<ChatFormat> MakeLlama4Format();

// Collects a rendered chat, run by run; neighbours of one kind become one.
class ChatWriter {
 public:
  // What the format says of itself: special tokens in it count.
  ChatWriter& Frame(std::string_view text) { return Append(text, false); }
  // What a person wrote or chose.
  ChatWriter& User(std::string_view text) { return Append(text, true); }

  RenderedChat Take() && { return std::move(chat_); }

 private:
  ChatWriter& Append(std::string_view text, bool from_user);

  RenderedChat chat_;
};

// INVALID_ARGUMENT unless there is a message, every role is known, and only assistants call tools.
absl::Status CheckMessages(const ChatRequest& request);

// Jinja's trim filter, Python's str.strip(): without white space (Unicode's and U+001C to U+001F)
// at both ends.
std::string_view TrimLikePython(std::string_view text);

}  // namespace trireme
