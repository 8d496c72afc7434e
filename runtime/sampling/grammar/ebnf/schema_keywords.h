// The keywords of one JSON Schema: which there are, and what the simple ones say. Errors name the
// place as a JSON pointer.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/sampling/grammar/ebnf/number_range.h"
#include "runtime/sampling/grammar/ebnf/schema_shape.h"

namespace trireme {

// INVALID_ARGUMENT: "JSON Schema at "#/properties/a": what".
absl::Status SchemaError(std::string_view pointer, std::string_view what);

// pointer + "/" + name, escaped as JSON pointers are.
std::string Below(std::string_view pointer, std::string_view name);

// schema[key], or nullptr; the schema is an object.
const SchemaJson* Member(const SchemaJson& schema, const char* key);

// Refuses every keyword that is neither an annotation nor in `known`.
absl::Status OnlyKeywords(const SchemaJson& schema, std::string_view pointer,
                          const std::vector<std::string_view>& known);

// The types that "type" names; none where it is absent.
absl::StatusOr<std::vector<std::string>> Types(const SchemaJson& schema, std::string_view pointer);

// The keywords that say something about values of a type, and are enforced.
std::vector<const char*> KeywordsOf(std::string_view type);

// Refuses every keyword that is neither an annotation, nor "type", nor about one of `types`.
absl::Status TypedKeywords(const SchemaJson& schema, std::string_view pointer,
                           const std::vector<std::string>& types);

// A count from 0 to `most` that a keyword gives, or nothing.
absl::StatusOr<std::optional<int64_t>> CountOf(const SchemaJson& schema, std::string_view pointer,
                                               const char* keyword, int64_t most);

struct NumberBounds {
  std::optional<DecimalBound> low;
  std::optional<DecimalBound> high;
};

// minimum, maximum, exclusiveMinimum and exclusiveMaximum together.
absl::StatusOr<NumberBounds> BoundsOf(const SchemaJson& schema, std::string_view pointer);

}  // namespace trireme
