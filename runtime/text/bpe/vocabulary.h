// What every source of a byte-level BPE tokenizer comes down to: the bytes of each token, which
// pairs merge and in what order, how text is cut before merging, and which tokens are not text. The
// readers in sources.h produce it; MakeBpeTokenizer checks it and builds the tokenizer.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/text/tokenizer.h"

namespace trireme {

enum class TokenKind : uint8_t {
  kText,     // made of bytes by merging
  kSpecial,  // control: found in text only where special tokens are parsed
  kAdded,    // ordinary text that is always found whole, before merging
  kUnused,   // an id that encoding never gives: a hole, or a filler
};

struct BpeVocabulary {
  // How two neighbours merge.
  enum class Merging {
    kByList,  // the pairs of `merges`, earlier first (HuggingFace, GGUF)
    kByRank,  // any two whose joined bytes are a text token, lower id first (tiktoken)
  };

  static constexpr size_t kMaxTokens = size_t{1} << 20;

  struct Merge {
    int32_t left = 0;
    int32_t right = 0;
    int32_t merged = 0;
  };

  std::string source;               // the file, for messages
  std::vector<std::string> tokens;  // by id: bytes; of a special or added token, its text
  std::vector<TokenKind> kinds;     // by id
  Merging merging = Merging::kByList;
  std::vector<Merge> merges;  // kByList only
  bool whole_piece_first =
      false;  // a piece that is a token is that token, whatever merging would give
  std::vector<std::string> split_patterns;  // see PreTokenizer
  std::optional<int32_t> bos;
  std::optional<int32_t> eos;
  std::string chat_template;
};

// INVALID_ARGUMENT naming the source when the vocabulary contradicts itself. A byte that no text
// token stands for is allowed with kByList (it is dropped from the input, as HuggingFace does) and
// refused with kByRank.
absl::StatusOr<std::unique_ptr<Tokenizer>> MakeBpeTokenizer(BpeVocabulary vocabulary);

}  // namespace trireme
