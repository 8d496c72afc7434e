// Byte-level BPE: text ↔ token ids. Three sources give the same object: HuggingFace's
// tokenizer.json, Meta's tokenizer.model (tiktoken ranks; Llama 3 and 4) and GGUF metadata.
//
// Text is cut by the model's pre-tokeniser pattern (PCRE2 with UTF, UCP, JIT and match limits;
// unknown patterns compile or are refused at load), each piece is looked up whole where the family
// does so, then merged by rank in O(n log n). Invalid UTF-8 in the input is replaced by U+FFFD
// first, as the references do. Immutable after construction, so any thread may use it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/text/bpe/special_tokens.h"

namespace trireme {

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // No begin- or end-of-text token is added. INVALID_ARGUMENT when the text exceeds kMaxTextBytes;
  // RESOURCE_EXHAUSTED when a model file's pre-tokenizer pattern needs too much work on this text.
  virtual absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text,
                                                      SpecialTokens special) const = 0;

  // The first special token's text at or after byte `from`.
  virtual std::optional<SpecialMatch> FindSpecial(std::string_view text, size_t from) const = 0;

  // The bytes a token stands for (specials: their text). Empty for an id outside [0, vocab_size).
  virtual std::string_view TokenBytes(int32_t id) const = 0;

  virtual int32_t vocab_size() const = 0;
  virtual bool IsSpecial(int32_t id) const = 0;
  // The id of a special token by its text.
  virtual std::optional<int32_t> SpecialId(std::string_view text) const = 0;

  // As the source names them; absent where it names none.
  virtual std::optional<int32_t> bos() const = 0;
  virtual std::optional<int32_t> eos() const = 0;
  // The model's chat template (Jinja text) when the source carries one; "" otherwise.
  virtual const std::string& chat_template() const = 0;

  // All bytes of ids, invalid UTF-8 replaced by U+FFFD (the rule of Python's errors="replace").
  std::string Decode(std::span<const int32_t> ids) const;

  static constexpr size_t kMaxTextBytes = size_t{64} << 20;
};

// By id, the bytes that a token adds to a text: "" for special tokens. What grammars need of a
// vocabulary (GrammarVocabulary::token_bytes).
std::vector<std::string> ContentBytes(const Tokenizer& tokenizer);

// path: a checkpoint or shard directory, a GGUF file, or a tokenizer.json or tokenizer.model
// itself. In a directory the first of tokenizer.json, tokenizer.model, metadata.gguf (what a shard
// directory keeps of a GGUF) and a single
// *.gguf counts. Beside the first two, tokenizer_config.json names bos, eos and the chat template
// (which chat_template.jinja or chat_template.json may hold instead), and config.json's model_type
// names the family whose special tokens a bare tokenizer.model has. Errors name the file and what
// was expected.
absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(const std::string& path);

}  // namespace trireme
