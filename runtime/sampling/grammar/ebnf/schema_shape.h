// What can be said about a JSON Schema before it becomes a grammar: what its references name,
// whether some finite text meets it, whether two alternatives exclude each other.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace trireme {

using SchemaJson = nlohmann::ordered_json;

// INVALID_ARGUMENT where it is not one JSON value, names a key twice in an object, or nests deeper
// than kMaxSchemaDepth.
absl::StatusOr<SchemaJson> ParseSchema(std::string_view text);

// The schema that `reference` ("#", "#/$defs/item") names in `root`; INVALID_ARGUMENT.
absl::StatusOr<const SchemaJson*> ResolveReference(const SchemaJson& root,
                                                   const std::string& reference);

// Refuses references that come back to themselves without anything in between, and schemas that no
// finite text meets. references: all that are used from the root.
absl::Status CheckEnds(const SchemaJson& root, const std::vector<std::string>& references);

// Whether no JSON value can meet both: different types, different constants, or objects with a
// required property whose constants differ.
bool Disjoint(const SchemaJson& root, const SchemaJson& a, const SchemaJson& b);

// The names of the JSON Schema types that a value has: "integer" and "number" for 3.
bool HasType(const SchemaJson& value, std::string_view type);

}  // namespace trireme
