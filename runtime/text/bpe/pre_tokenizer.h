// A pre-tokenizer cuts text into the pieces (words with their leading space, runs of digits, …)
// that merging never crosses. It is a list of patterns: each one cuts every piece of the one before
// into its matches and what lies between them. A piece is matched alone, so a look-ahead sees the
// piece's end as the end of the text.
//
// The patterns are those of the reference tokenizers' regex engines; what PCRE2 reads otherwise is
// rewritten when a pattern is compiled (see TranslatePattern). The patterns below take linear time
// on any text and run compiled to machine code. Another one, out of a model file, is interpreted,
// because only the interpreter counts the points that it comes back to: when it needs more than a
// fixed number of them a byte, or more than some seconds a megabyte, that is an error, not a hang.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace trireme {

// What the known model families use. No attempt at a match looks further than a small multiple of
// what is then consumed.
inline constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
inline constexpr std::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
inline constexpr std::string_view kLlama4Pattern =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
inline constexpr std::string_view kSingleDigitPattern = R"(\p{N})";
inline constexpr std::string_view kDigitsPattern = R"(\p{N}+)";

class PreTokenizer {
 public:
  static constexpr size_t kMaxPatterns = 16;

  // No patterns: the whole text is one piece. INVALID_ARGUMENT quoting a pattern that does not
  // compile and where; UNIMPLEMENTED for one that PCRE2 would read otherwise than the references.
  static absl::StatusOr<PreTokenizer> Compile(const std::vector<std::string>& patterns);

  PreTokenizer(PreTokenizer&&) noexcept;
  PreTokenizer& operator=(PreTokenizer&&) noexcept;
  ~PreTokenizer();

  // Calls `piece` for each piece in order; together they are `text`. text must be valid UTF-8.
  // RESOURCE_EXHAUSTED when a pattern needs too much work or memory on this text. Thread-safe.
  absl::Status Split(std::string_view text, absl::FunctionRef<void(std::string_view)> piece) const;

 private:
  struct Pattern;
  class Matching;

  PreTokenizer();

  std::vector<Pattern> patterns_;
};

// The pattern as PCRE2 must be given it: \s and \S become the explicit Unicode White_Space set
// (PCRE2's \s has U+180E besides).
absl::StatusOr<std::string> TranslatePattern(std::string_view pattern);

}  // namespace trireme
