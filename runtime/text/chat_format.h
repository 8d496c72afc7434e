// Conversations → the prompt a model was trained on. The format is chosen by recognising the
// model's chat template (or, for Meta's bare tokenizer.model, its special tokens) and is rendered
// by code; a template from a model file is never executed. An unknown template is refused by name.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/text/tokenizer.h"

namespace trireme {

struct ChatToolCall {
  std::string name;
  std::string arguments_json;  // a JSON object
};

struct ChatMessage {
  std::string role;     // "system", "user", "assistant", "tool" or "ipython"
  std::string content;  // UTF-8
  std::vector<ChatToolCall> tool_calls;
};

struct ChatRequest {
  std::vector<ChatMessage> messages;
  std::vector<std::string> tools_json;  // each a JSON object, key order kept as given
  bool add_generation_prompt = true;
  // What the template would read from its keyword arguments; "26 Jul 2024" where the format has a
  // date and none is given.
  std::string date_string;
};

// Rendered text in runs: what the format itself wrote (specials parsed) and what people wrote
// (never parsed).
struct RenderedChat {
  struct Run {
    std::string text;
    bool from_user = false;
  };
  std::vector<Run> runs;

  std::string Text() const;
};

class ChatFormat {
 public:
  virtual ~ChatFormat() = default;
  // "chatml-smollm2", "chatml", "llama3" (3.1 to 3.3) or "llama4".
  virtual std::string_view name() const = 0;
  // INVALID_ARGUMENT for what the format cannot express: no messages, an unknown role, a message
  // with several tool calls in a format of one, JSON that is none.
  virtual absl::StatusOr<RenderedChat> Render(const ChatRequest& request) const = 0;
  // Whether the model is told of request.tools_json. Where false, Render leaves them out, as the
  // model's template does; a server should rather refuse them.
  virtual bool supports_tools() const = 0;
  // Token texts that end an assistant's turn ("<|im_end|>", "<|eot_id|>").
  virtual std::vector<std::string> stop_tokens() const = 0;
};

// Chooses by the tokenizer's chat template: known texts by their hash, changed ones by what marks
// them (logged as a warning); without a template by special tokens. UNIMPLEMENTED saying what was
// found.
absl::StatusOr<std::unique_ptr<ChatFormat>> MakeChatFormat(const Tokenizer& tokenizer);

// By its name; INVALID_ARGUMENT listing the known ones.
absl::StatusOr<std::unique_ptr<ChatFormat>> MakeChatFormatByName(std::string_view name);

// What a template is: the format, and whether it is that format's known text or only bears its
// marks.
struct RecognizedTemplate {
  std::string_view format;
  bool exact = false;
};
std::optional<RecognizedTemplate> RecognizeTemplate(std::string_view chat_template);

// Token ids of a rendered chat. With parse_user = false (serving) people's text never becomes
// control tokens. True reproduces HuggingFace's "tokenise the rendered string".
absl::StatusOr<std::vector<int32_t>> EncodeChat(const Tokenizer& tokenizer,
                                                const RenderedChat& chat, bool parse_user);

}  // namespace trireme
