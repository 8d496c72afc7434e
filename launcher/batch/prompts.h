// The prompts of a batch: from flags, or from a JSONL file whose lines are
//   {"prompt": "…"} or {"prompt_tokens": […]}, with optional max_tokens, seed, temperature.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/engine/request.h"
#include "runtime/text/tokenizer.h"

namespace trireme {

struct PromptFlags {
  std::string prompt;
  std::string prompt_tokens;  // "1,2,3"
  std::string prompts_file;
  bool parse_special = false;  // the text of special tokens in `prompt` becomes those tokens
};

// Requests with `defaults` where a line says nothing. `tokenizer` may be null where no prompt is
// text. INVALID_ARGUMENT naming flag, or file and line.
absl::StatusOr<std::vector<Request>> ReadPrompts(const PromptFlags& flags, const Request& defaults,
                                                 const Tokenizer* tokenizer);

}  // namespace trireme
