// HuggingFace's tokenizer.json: {"model": {"type": "BPE", "vocab", "merges", …}, "pre_tokenizer",
// "added_tokens", …}. Of all that the format can say, what Llama 3, Llama 4, SmolLM2 and GPT-2 use
// is understood, and anything else that would change the ids is refused by name rather than
// ignored. post_processor, truncation and padding are not read: nobody adds or removes tokens here
// but the caller.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "runtime/text/bpe/vocabulary.h"

namespace trireme {

// `json` is the file's text. INVALID_ARGUMENT for a malformed file, UNIMPLEMENTED for a feature not
// understood; both name `source` and the key. bos, eos and chat_template stay empty:
// tokenizer_config.json has them.
absl::StatusOr<BpeVocabulary> ReadTokenizerJson(std::string_view json, const std::string& source);

}  // namespace trireme
