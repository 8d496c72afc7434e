// Incremental detokeniser: one per sequence. It holds back the bytes of an incomplete code point
// and replaces invalid bytes by U+FFFD as soon as they are certain, so that what it emits is always
// whole UTF-8 and the concatenation equals Tokenizer::Decode of all ids.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "runtime/text/tokenizer.h"

namespace trireme {

class Detokenizer {
 public:
  // `tokenizer` must outlive this. Special tokens are emitted as text only when keep_special.
  Detokenizer(const Tokenizer& tokenizer, bool keep_special)
      : tokenizer_(tokenizer), keep_special_(keep_special) {}

  // The text that may be emitted after this token; "" while a code point is incomplete.
  std::string Push(int32_t id);
  // What is still held back, as U+FFFD, at the end of the sequence.
  std::string Flush();

 private:
  const Tokenizer& tokenizer_;
  bool keep_special_;
  std::string pending_;  // at most 3 bytes: the start of a code point
};

// Appends `bytes` to `out`, replacing invalid sequences by U+FFFD; bytes of an incomplete code
// point at the end are left in `pending` (which also supplies the bytes that come first). With
// final, they are replaced too.
void AppendValidUtf8(std::string_view bytes, bool final, std::string& pending, std::string& out);

bool IsValidUtf8(std::string_view text);

}  // namespace trireme
