// What a request's text must look like, as the client said it: any JSON object, JSON of a schema, a
// match of a regular expression, or one of a few strings. A GrammarSpec travels with its request
// and means nothing by itself: GrammarCompiler checks it and makes of it what masks the vocabulary.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace trireme {

struct GrammarSpec {
  enum class Kind : uint8_t {
    kNone,        // anything: no grammar
    kJsonObject,  // one JSON object
    kJsonSchema,  // one JSON value that `text`, a JSON Schema, accepts
    kRegex,       // the whole output matches `text`
    kChoice,      // the output is one of `choices`
  };

  Kind kind = Kind::kNone;
  std::string text;                  // the schema or the regular expression; "" for other kinds
  std::vector<std::string> choices;  // of kChoice; else empty

  bool constrained() const { return kind != Kind::kNone; }
  bool operator==(const GrammarSpec&) const = default;

  template <typename H>
  friend H AbslHashValue(H state, const GrammarSpec& spec) {
    return H::combine(std::move(state), spec.kind, spec.text, spec.choices);
  }
};

// The name of a kind in messages and logs: "json_schema".
constexpr std::string_view GrammarKindName(GrammarSpec::Kind kind) {
  switch (kind) {
    case GrammarSpec::Kind::kNone:
      return "none";
    case GrammarSpec::Kind::kJsonObject:
      return "json_object";
    case GrammarSpec::Kind::kJsonSchema:
      return "json_schema";
    case GrammarSpec::Kind::kRegex:
      return "regex";
    case GrammarSpec::Kind::kChoice:
      return "choice";
  }
  return "unknown";
}

}  // namespace trireme
