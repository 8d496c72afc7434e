// Meta's tokenizer.model: lines of "base64-of-the-token rank". The rank is the id, and also says
// which of two merges comes first. Special tokens are not in the file; each family appends its own
// list, in the order below:
//
//   Llama 3   128000 ranks +  256 special tokens     Llama 4   200000 ranks + 2048 special tokens
//
// Source of the lists: tokenizer.py of the llama-models package, 0.3.0.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/text/bpe/vocabulary.h"

namespace trireme {

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

}  // namespace trireme
