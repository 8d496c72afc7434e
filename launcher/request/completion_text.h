// The text of one completion, token by token: whole code points, without the stop token, ending
// before a stop string, with what might become one held back. A pure function of the request and
// its tokens, so that whoever shows a completion (the coordinator, a batch job, either after a
// replay elsewhere) shows the same text that the engine watched.
#pragma once

#include <cstdint>
#include <string>

#include "runtime/engine/request.h"
#include "runtime/text/detokenizer.h"
#include "runtime/text/stop_strings.h"

namespace trireme {

class CompletionText {
 public:
  // `tokenizer` must outlive this; `request` is only read here. Special tokens are shown only where
  // `keep_special` and no stop strings are given: to those they are no text.
  CompletionText(const Tokenizer& tokenizer, const Request& request, bool keep_special);

  // The text that may be shown after this token.
  std::string Push(int32_t token);
  // What is still held back, at the completion's end.
  std::string Flush();

 private:
  const std::vector<int32_t> stop_tokens_;
  const int32_t min_tokens_;
  Detokenizer detokenizer_;
  StopStrings stops_;
  int32_t tokens_ = 0;
};

}  // namespace trireme
