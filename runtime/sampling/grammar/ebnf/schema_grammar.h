// JSON Schema (2020-12) as a grammar: every text of the grammar is JSON that the schema accepts.
// Not every JSON that it accepts is a text of the grammar: properties come in the order in which
// the schema names them, and only those it names; numbers keep to forms that every reader reads
// alike; indentation ends somewhere.
//
// Enforced: type (one or several), properties, required, additionalProperties (with properties:
// none are added), items, prefixItems, minItems, maxItems, minLength, maxLength, pattern, format
// (of kFormats), minimum, maximum, exclusiveMinimum, exclusiveMaximum, maxProperties and
// minProperties (where they can be), const, enum, anyOf, oneOf (of alternatives that exclude each
// other), allOf of one schema, $ref into the same document.
// Ignored: title, description, default, examples, deprecated, readOnly, writeOnly, $schema,
// $comment, $id of the root, $defs and definitions (until something refers into them),
// contentEncoding, contentMediaType.
// Any other keyword is refused by name and place (a JSON pointer), for an answer that does not do
// what the schema says is worse than none. So is a schema that no finite text meets.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace trireme {

constexpr int kMaxSchemaDepth = 32;
constexpr int kMaxSchemaNodes = 2000;

// A grammar in EBNF whose rule "root" is the schema's. INVALID_ARGUMENT.
absl::StatusOr<std::string> SchemaToEbnf(std::string_view schema);

// The grammar of any JSON object.
std::string JsonObjectEbnf();

}  // namespace trireme
