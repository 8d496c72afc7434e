#include "launcher/request/completion_text.h"

#include <algorithm>

namespace trireme {

CompletionText::CompletionText(const Tokenizer& tokenizer, const Request& request,
                               bool keep_special)
    : stop_tokens_(request.stop_tokens),
      min_tokens_(request.min_tokens),
      detokenizer_(tokenizer, keep_special && request.stop_strings.empty()),
      stops_(request.stop_strings) {}

std::string CompletionText::Push(int32_t token) {
  const bool may_stop = tokens_++ >= min_tokens_;
  if (may_stop && std::ranges::find(stop_tokens_, token) != stop_tokens_.end()) return "";
  const std::string text = detokenizer_.Push(token);
  // What comes before a completion may stop is no part of a stop string.
  return may_stop ? stops_.Push(text) : text;
}

std::string CompletionText::Flush() {
  std::string text = stops_.Push(detokenizer_.Flush());
  return text + stops_.Flush();
}

}  // namespace trireme
