// Regular expressions as the right-hand side of a grammar rule (the EBNF that xgrammar reads).
//
// The dialect is the part on which ECMA-262 and Python agree: literals, `.`, classes, groups
// ((?:…) and named ones too), alternatives, `* + ? {n} {n,} {n,m}` (a trailing `?` changes nothing
// here), `\d \w \s \D \W \S`, `\t \n \r \f \v \xHH \uHHHH` and escaped punctuation. `^` may only
// begin and `$` only end the whole expression. Everything else (look-around, back-references,
// `\b`, `\p`, flags) is refused by name. Where the two dialects differ about a character (is a
// letter with an accent `\w`?), it is not generated, so that both accept what is.
//
// All input is untrusted: nesting, repetition counts and the number of states that a repetition
// unrolls to are limited, so that compiling is bounded.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace trireme {

constexpr int kMaxRegexDepth = 32;
// Beyond, the library would count at run time, and its masks would take milliseconds.
constexpr int64_t kMaxRepeats = 128;
// Of a whole grammar: CodePointSet::Cost of each character that it unrolls to, together. Compiling
// takes about 0.1 ms a unit for 49,152 tokens and 0.3 ms for 202,048.
constexpr int64_t kMaxGrammarCost = 40000;

enum class RegexUse : uint8_t {
  kWholeText,  // the text itself matches, from its first to its last character
  kJsonText,   // the text is a JSON string, and what it stands for matches somewhere (JSON
               // Schema's "pattern")
};

struct RegexExpression {
  std::string ebnf;
  int64_t cost = 0;
};

// INVALID_ARGUMENT with the byte where reading stopped and why.
absl::StatusOr<RegexExpression> RegexToEbnf(std::string_view regex, RegexUse use);

// A JSON string of `least` to `most` characters, at most kMaxRepeats; no `most`: without end.
RegexExpression JsonTextEbnf(int64_t least, std::optional<int64_t> most);

}  // namespace trireme
