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
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace trireme {

constexpr int kMaxRegexDepth = 32;
constexpr int64_t kMaxRegexRepeats = 1000;
// Of a whole grammar: characters of literals and classes, repetitions unrolled.
constexpr int64_t kMaxGrammarStates = 20000;

enum class RegexUse : uint8_t {
  kWholeText,       // the text itself matches, from its first to its last character
  kInsideJsonText,  // what a JSON string stands for matches somewhere (JSON Schema's "pattern"),
                    // and is written with JSON's escapes, without the quotes
};

struct RegexExpression {
  std::string ebnf;
  int64_t states = 0;  // how many characters it unrolls to, about
};

// INVALID_ARGUMENT with the byte where reading stopped and why.
absl::StatusOr<RegexExpression> RegexToEbnf(std::string_view regex, RegexUse use);

}  // namespace trireme
