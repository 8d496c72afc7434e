// The three files that a byte-level BPE vocabulary is read from. All are untrusted: each reader
// checks what it reads and refuses, by name, what it does not understand and what would change the
// ids.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/base/gguf_metadata.h"
#include "runtime/text/bpe/vocabulary.h"

namespace trireme {

// HuggingFace's tokenizer.json: {"model": {"type": "BPE", "vocab", "merges", …}, "pre_tokenizer",
// "added_tokens", …}. Of all that the format can say, what Llama 3, Llama 4, SmolLM2 and GPT-2 use
// is understood. post_processor, truncation and padding are not read: nobody adds or removes tokens
// here but the caller. `json` is the file's text. INVALID_ARGUMENT for a malformed file,
// UNIMPLEMENTED for a feature not understood; both name `source` and the key. bos, eos and
// chat_template stay empty: tokenizer_config.json has them.
absl::StatusOr<BpeVocabulary> ReadTokenizerJson(std::string_view json, const std::string& source);

// Meta's tokenizer.model: lines of "base64-of-the-token rank". The rank is the id, and also says
// which of two merges comes first. Special tokens are not in the file; each family appends its own
// list:
//
//   Llama 3   128000 ranks +  256 special tokens     Llama 4   200000 ranks + 2048 special tokens
//
// Source of the lists: tokenizer.py of the llama-models package, 0.3.0.
enum class TiktokenFamily { kLlama3, kLlama4 };

// The family of config.json's model_type: "llama" or "mllama", "llama4" or "llama4_text"; nullopt
// for another.
std::optional<TiktokenFamily> FamilyOfModelType(std::string_view model_type);

// In order of their ids, which begin after the last rank.
std::vector<std::string> FamilySpecialTokens(TiktokenFamily family);

// `text` is the file's; `family` what config.json says, if anything: otherwise the number of ranks
// tells. INVALID_ARGUMENT naming source and line for a malformed file or one of another family;
// UNIMPLEMENTED when nothing tells the family.
absl::StatusOr<BpeVocabulary> ReadTiktoken(std::string_view text, const std::string& source,
                                           std::optional<TiktokenFamily> family);

// The tokenizer inside a GGUF file: tokenizer.ggml.tokens, .merges and .token_type, whose
// byte-level text is that of tokenizer.json, and tokenizer.ggml.pre, a name for the pre-tokenizer
// pattern instead of the pattern. INVALID_ARGUMENT for keys that contradict each other, NOT_FOUND
// for a file without a tokenizer, UNIMPLEMENTED for another kind of tokenizer or an unknown
// pre-tokenizer name. Messages name `source`.
absl::StatusOr<BpeVocabulary> ReadGgufVocabulary(const GgufMetadata& metadata,
                                                 const std::string& source);

}  // namespace trireme
