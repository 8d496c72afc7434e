// GPT-2's way of writing bytes as printable text: in tokenizer.json and in GGUF each byte of a
// token is one character, itself where it is printable Latin-1, otherwise U+0100 + its place among
// the others (a space is "Ġ"). Merges name their two tokens in the same writing.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "runtime/text/bpe/vocabulary.h"

namespace trireme {

// The bytes that `text` (UTF-8) stands for; nullopt when a character stands for none.
std::optional<std::string> ByteLevelToBytes(std::string_view text);

// Tokens by their written text.
using WrittenTokens = absl::flat_hash_map<std::string_view, int32_t, std::hash<std::string_view>>;

// Appends the merge of two written tokens. INVALID_ARGUMENT when either, or what they join to, is
// no token.
absl::Status AppendMerge(const WrittenTokens& written, std::string_view left,
                         std::string_view right, BpeVocabulary& vocabulary);

// The same for "left right" in one string.
absl::Status AppendMerge(const WrittenTokens& written, std::string_view both,
                         BpeVocabulary& vocabulary);

}  // namespace trireme
