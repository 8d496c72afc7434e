#include "runtime/sampling/grammar/ebnf/schema_keywords.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "runtime/base/printable.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

// Say nothing about which values are valid.
constexpr std::string_view kAnnotations[] = {
    "title",       "description",     "default",         "examples", "deprecated",
    "readOnly",    "writeOnly",       "$schema",         "$comment", "$defs",
    "definitions", "contentEncoding", "contentMediaType"};

}  // namespace

absl::Status SchemaError(std::string_view pointer, std::string_view what) {
  return absl::InvalidArgumentError(absl::StrFormat(
      "JSON Schema at \"%s\": %s", Printable(absl::StrFormat("#%s", pointer)), what));
}

std::string Below(std::string_view pointer, std::string_view name) {
  std::string below(pointer);
  below += '/';
  for (const char c : name) below += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
  return below;
}

const SchemaJson* Member(const SchemaJson& schema, const char* key) {
  const auto found = schema.find(key);
  return found == schema.end() ? nullptr : &*found;
}

// Refuses every keyword that is neither an annotation nor in `known`.
absl::Status OnlyKeywords(const SchemaJson& schema, std::string_view pointer,
                          const std::vector<std::string_view>& known) {
  for (const auto& [key, value] : schema.items()) {
    const bool harmless = std::find(std::begin(kAnnotations), std::end(kAnnotations), key) !=
                              std::end(kAnnotations) ||
                          (key == "$id" && pointer.empty());
    if (harmless || std::find(known.begin(), known.end(), key) != known.end()) continue;
    return SchemaError(Below(pointer, key),
                       absl::StrFormat("the keyword \"%s\" is not supported here; it would not be "
                                       "enforced",
                                       Printable(key)));
  }
  return absl::OkStatus();
}

// The types that "type" names; none where it is absent.
absl::StatusOr<std::vector<std::string>> Types(const SchemaJson& schema, std::string_view pointer) {
  std::vector<std::string> types;
  const SchemaJson* named = Member(schema, "type");
  if (named == nullptr) return types;
  const SchemaJson list = named->is_array() ? *named : SchemaJson::array({*named});
  for (const SchemaJson& type : list) {
    static constexpr std::string_view kKnown[] = {"object", "array",   "string", "integer",
                                                  "number", "boolean", "null"};
    if (!type.is_string() || std::find(std::begin(kKnown), std::end(kKnown),
                                       type.get_ref<const std::string&>()) == std::end(kKnown)) {
      return SchemaError(Below(pointer, "type"),
                         "it must be object, array, string, integer, number, boolean or null, or a "
                         "list of them");
    }
    types.push_back(type.get<std::string>());
  }
  if (types.empty()) return SchemaError(Below(pointer, "type"), "it must not be an empty list");
  return types;
}

std::vector<const char*> KeywordsOf(std::string_view type) {
  if (type == "object") {
    return {"properties", "required", "additionalProperties", "minProperties", "maxProperties"};
  }
  if (type == "array") return {"items", "prefixItems", "minItems", "maxItems"};
  if (type == "string") return {"minLength", "maxLength", "pattern", "format"};
  if (type == "integer" || type == "number") {
    return {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"};
  }
  return {};
}

absl::Status TypedKeywords(const SchemaJson& schema, std::string_view pointer,
                           const std::vector<std::string>& types) {
  SchemaJson rest = schema;
  rest.erase("type");
  for (const std::string& type : types) {
    for (const char* keyword : KeywordsOf(type)) rest.erase(keyword);
  }
  return OnlyKeywords(rest, pointer, {});
}

// A count that a keyword gives, or nothing.
absl::StatusOr<std::optional<int64_t>> CountOf(const SchemaJson& schema, std::string_view pointer,
                                               const char* keyword, int64_t most) {
  const SchemaJson* value = Member(schema, keyword);
  if (value == nullptr) return std::optional<int64_t>();
  if (!value->is_number_unsigned() || value->get<uint64_t>() > static_cast<uint64_t>(most)) {
    return SchemaError(Below(pointer, keyword),
                       absl::StrFormat("it must be a whole number from 0 to %d", most));
  }
  return std::optional<int64_t>(value->get<int64_t>());
}

absl::StatusOr<std::optional<double>> Bound(const SchemaJson& schema, std::string_view pointer,
                                            const char* keyword) {
  const SchemaJson* value = Member(schema, keyword);
  if (value == nullptr) return std::optional<double>();
  if (!value->is_number()) return SchemaError(Below(pointer, keyword), "it must be a number");
  return std::optional<double>(value->get<double>());
}

absl::StatusOr<NumberBounds> BoundsOf(const SchemaJson& schema, std::string_view pointer) {
  TRI_ASSIGN_OR_RETURN(const auto minimum, Bound(schema, pointer, "minimum"));
  TRI_ASSIGN_OR_RETURN(const auto maximum, Bound(schema, pointer, "maximum"));
  TRI_ASSIGN_OR_RETURN(const auto above, Bound(schema, pointer, "exclusiveMinimum"));
  TRI_ASSIGN_OR_RETURN(const auto below, Bound(schema, pointer, "exclusiveMaximum"));
  NumberBounds bounds;
  if (minimum) bounds.low = DecimalBound{*minimum, true};
  if (maximum) bounds.high = DecimalBound{*maximum, true};
  if (above && !(minimum && *minimum > *above)) bounds.low = DecimalBound{*above, false};
  if (below && !(maximum && *maximum < *below)) bounds.high = DecimalBound{*below, false};
  return bounds;
}

}  // namespace trireme
