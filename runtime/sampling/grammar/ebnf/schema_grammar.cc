#include "runtime/sampling/grammar/ebnf/schema_grammar.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "runtime/base/printable.h"
#include "runtime/base/status_macros.h"
#include "runtime/sampling/grammar/ebnf/code_point_set.h"
#include "runtime/sampling/grammar/ebnf/json_rules.h"
#include "runtime/sampling/grammar/ebnf/number_range.h"
#include "runtime/sampling/grammar/ebnf/regex_grammar.h"
#include "runtime/sampling/grammar/ebnf/schema_keywords.h"
#include "runtime/sampling/grammar/ebnf/schema_shape.h"

namespace trireme {
namespace {

constexpr int64_t kMaxItems = 128;

class SchemaWriter {
 public:
  explicit SchemaWriter(const SchemaJson& root) : root_(root) {}

  absl::StatusOr<std::string> Write() {
    TRI_ASSIGN_OR_RETURN(const std::string body, Value(root_, "", 0));
    rules_.emplace_back("root", body);
    // References are written from a list, not by recursion: they may lead anywhere.
    for (size_t next = 0; next < references_.size(); ++next) {
      const std::string reference = references_[next];
      TRI_ASSIGN_OR_RETURN(const SchemaJson* target, ResolveReference(root_, reference));
      TRI_ASSIGN_OR_RETURN(const std::string rule,
                           Value(*target, std::string_view(reference).substr(1), 0));
      rules_.emplace_back(reference_rules_[reference], rule);
    }
    TRI_RETURN_IF_ERROR(CheckEnds(root_, references_));
    std::string grammar = JsonRules();
    for (const auto& [name, rule] : rules_) {
      absl::StrAppendFormat(&grammar, "%s ::= %s\n", name, rule);
    }
    return grammar;
  }

 private:
  std::string AddRule(std::string_view kind, std::string body) {
    std::string name = absl::StrFormat("%s_%d", kind, rules_.size());
    rules_.emplace_back(name, std::move(body));
    return name;
  }

  absl::Status Count(std::string_view pointer, int64_t cost) {
    cost_ += cost;
    if (cost_ <= kMaxGrammarCost) return absl::OkStatus();
    return SchemaError(pointer, absl::StrFormat("the schema is too large: it costs more than %d to "
                                                "compile",
                                                kMaxGrammarCost));
  }

  absl::StatusOr<std::string> Value(const SchemaJson& schema, std::string_view pointer, int depth) {
    if (++nodes_ > kMaxSchemaNodes) {
      return SchemaError(pointer, absl::StrFormat("more than %d schemas in it", kMaxSchemaNodes));
    }
    if (depth > kMaxSchemaDepth) {
      return SchemaError(pointer, absl::StrFormat("nests deeper than %d", kMaxSchemaDepth));
    }
    if (schema.is_boolean()) {
      if (!schema.get<bool>()) return SchemaError(pointer, "nothing meets the schema false");
      return std::string("any_value");
    }
    if (!schema.is_object())
      return SchemaError(pointer, "a schema must be an object, true or false");
    if (Member(schema, "$ref")) return Reference(schema, pointer);
    if (Member(schema, "const") || Member(schema, "enum")) return Constant(schema, pointer);
    for (const char* keyword : {"anyOf", "oneOf", "allOf"}) {
      if (Member(schema, keyword)) return Combination(schema, keyword, pointer, depth);
    }
    return Typed(schema, pointer, depth);
  }

  absl::StatusOr<std::string> Reference(const SchemaJson& schema, std::string_view pointer) {
    TRI_RETURN_IF_ERROR(OnlyKeywords(schema, pointer, {"$ref"}));
    const SchemaJson& reference = *Member(schema, "$ref");
    if (!reference.is_string()) return SchemaError(Below(pointer, "$ref"), "it must be a string");
    const auto& name = reference.get_ref<const std::string&>();
    if (const auto target = ResolveReference(root_, name); !target.ok()) {
      return SchemaError(pointer, std::string(target.status().message()));
    }
    auto [entry, is_first] = reference_rules_.try_emplace(name);
    if (is_first) {
      references_.push_back(name);
      entry->second = absl::StrFormat("ref_%d", references_.size());
    }
    return entry->second;
  }

  absl::StatusOr<std::string> Constant(const SchemaJson& schema, std::string_view pointer) {
    const SchemaJson* single = Member(schema, "const");
    const SchemaJson* list = Member(schema, "enum");
    const char* keyword = single ? "const" : "enum";
    TRI_RETURN_IF_ERROR(OnlyKeywords(schema, pointer, {keyword, "type"}));
    if (!single && (!list->is_array() || list->empty())) {
      return SchemaError(Below(pointer, "enum"), "it must be a list of at least one value");
    }
    const SchemaJson values = single ? SchemaJson::array({*single}) : *list;
    TRI_ASSIGN_OR_RETURN(const std::vector<std::string> types, Types(schema, pointer));
    std::set<std::string> texts;
    for (const SchemaJson& value : values) {
      const bool fits = types.empty() ||
                        std::any_of(types.begin(), types.end(), [&value](const std::string& type) {
                          return HasType(value, type);
                        });
      if (fits) texts.insert(value.dump());
    }
    if (texts.empty()) return SchemaError(pointer, "no value of it has the type that it asks for");
    std::vector<std::string> literals;
    for (const std::string& text : texts) {
      TRI_RETURN_IF_ERROR(Count(pointer, static_cast<int64_t>(text.size())));
      literals.push_back(EbnfLiteral(text));
    }
    return AddRule("constant", absl::StrJoin(literals, " | "));
  }

  absl::StatusOr<std::string> Combination(const SchemaJson& schema, const char* keyword,
                                          std::string_view pointer, int depth) {
    TRI_RETURN_IF_ERROR(OnlyKeywords(schema, pointer, {keyword}));
    const SchemaJson& list = *Member(schema, keyword);
    const std::string place = Below(pointer, keyword);
    if (!list.is_array() || list.empty()) {
      return SchemaError(place, "it must be a list of at least one schema");
    }
    if (std::string_view(keyword) == "allOf" && list.size() > 1) {
      return SchemaError(place, "allOf of several schemas is not supported; write them as one");
    }
    if (std::string_view(keyword) == "oneOf") {
      for (size_t i = 0; i < list.size(); ++i) {
        for (size_t k = i + 1; k < list.size(); ++k) {
          if (Disjoint(root_, list[i], list[k])) continue;
          return SchemaError(place,
                             absl::StrFormat("alternatives %d and %d must exclude each other by "
                                             "type, or by the constants of a property that both "
                                             "require; else use anyOf",
                                             i, k));
        }
      }
    }
    std::vector<std::string> alternatives;
    for (size_t i = 0; i < list.size(); ++i) {
      TRI_ASSIGN_OR_RETURN(const std::string one,
                           Value(list[i], Below(place, absl::StrFormat("%d", i)), depth + 1));
      alternatives.push_back(one);
    }
    return AddRule("one_of", absl::StrJoin(alternatives, " | "));
  }

  absl::StatusOr<std::string> Typed(const SchemaJson& schema, std::string_view pointer, int depth) {
    TRI_ASSIGN_OR_RETURN(std::vector<std::string> types, Types(schema, pointer));
    if (types.empty()) {
      // Without a type the keywords of one type say nothing about the others; of what they allow,
      // the type that they are about is generated.
      for (const char* type : {"object", "array"}) {
        for (const char* keyword : KeywordsOf(type)) {
          if (types.empty() && Member(schema, keyword)) types.emplace_back(type);
        }
      }
    }
    TRI_RETURN_IF_ERROR(TypedKeywords(schema, pointer, types));
    if (types.empty()) return std::string("any_value");
    std::vector<std::string> alternatives;
    for (const std::string& type : types) {
      TRI_ASSIGN_OR_RETURN(const std::string one, OfType(type, schema, pointer, depth));
      alternatives.push_back(one);
    }
    if (alternatives.size() == 1) return alternatives[0];
    return AddRule("types", absl::StrJoin(alternatives, " | "));
  }

  absl::StatusOr<std::string> OfType(std::string_view type, const SchemaJson& schema,
                                     std::string_view pointer, int depth) {
    if (type == "object") return Object(schema, pointer, depth);
    if (type == "array") return Array(schema, pointer, depth);
    if (type == "string") return String(schema, pointer);
    if (type == "integer") return Integer(schema, pointer);
    if (type == "number") return Number(schema, pointer);
    return std::string(type == "boolean" ? "boolean" : "null");
  }

  absl::StatusOr<std::string> String(const SchemaJson& schema, std::string_view pointer) {
    TRI_ASSIGN_OR_RETURN(const auto least, CountOf(schema, pointer, "minLength", kMaxRepeats));
    TRI_ASSIGN_OR_RETURN(const auto most, CountOf(schema, pointer, "maxLength", kMaxRepeats));
    const SchemaJson* pattern = Member(schema, "pattern");
    const SchemaJson* format = Member(schema, "format");
    if ((least || most ? 1 : 0) + (pattern ? 1 : 0) + (format ? 1 : 0) > 1) {
      return SchemaError(pointer,
                         "of pattern, format and lengths only one can be enforced at once");
    }
    if (pattern || format) return Pattern(pattern, format, pointer);
    if (!least && !most) return std::string("string");
    if (most && *most < least.value_or(0)) {
      return SchemaError(pointer, "maxLength is less than minLength");
    }
    if (most == 0) return EbnfLiteral("\"\"");
    return TextRule(JsonTextEbnf(least.value_or(0), most), pointer);
  }

  // Equal strings share a rule, and so its masks.
  absl::StatusOr<std::string> TextRule(const RegexExpression& expression,
                                       std::string_view pointer) {
    auto [entry, is_first] = text_rules_.try_emplace(expression.ebnf);
    if (is_first) {
      TRI_RETURN_IF_ERROR(Count(pointer, expression.cost));
      entry->second = AddRule("text", expression.ebnf);
    }
    return entry->second;
  }

  absl::StatusOr<std::string> Pattern(const SchemaJson* pattern, const SchemaJson* format,
                                      std::string_view pointer) {
    const std::string place = Below(pointer, pattern ? "pattern" : "format");
    const SchemaJson& said = pattern ? *pattern : *format;
    if (!said.is_string()) return SchemaError(place, "it must be a string");
    std::string regex = said.get<std::string>();
    if (format) {
      const std::optional<std::string> known = FormatPattern(regex);
      if (!known) {
        return SchemaError(place,
                           absl::StrFormat("the format \"%s\" is not supported; supported are %s",
                                           Printable(regex), FormatNames()));
      }
      regex = *known;
    }
    const auto expression = RegexToEbnf(regex, RegexUse::kJsonText);
    if (!expression.ok()) return SchemaError(place, std::string(expression.status().message()));
    return TextRule(*expression, pointer);
  }

  absl::StatusOr<std::string> Integer(const SchemaJson& schema, std::string_view pointer) {
    TRI_ASSIGN_OR_RETURN(const NumberBounds bounds, BoundsOf(schema, pointer));
    if (!bounds.low && !bounds.high) return std::string("integer");
    const auto whole = [](std::optional<DecimalBound> bound, bool up) -> std::optional<int64_t> {
      if (!bound) return std::nullopt;
      double value = up ? std::ceil(bound->value) : std::floor(bound->value);
      if (!bound->inclusive && value == bound->value) value += up ? 1 : -1;
      // Beyond what IntegerRangeEbnf takes, and within what an integer holds.
      return static_cast<int64_t>(std::clamp(value, -1e18, 1e18));
    };
    const auto range = IntegerRangeEbnf(whole(bounds.low, true), whole(bounds.high, false));
    return Range(range, "integer_within", pointer);
  }

  absl::StatusOr<std::string> Number(const SchemaJson& schema, std::string_view pointer) {
    TRI_ASSIGN_OR_RETURN(const NumberBounds bounds, BoundsOf(schema, pointer));
    if (!bounds.low && !bounds.high) return std::string("number");
    return Range(DecimalRangeEbnf(bounds.low, bounds.high), "number_within", pointer);
  }

  absl::StatusOr<std::string> Range(const absl::StatusOr<std::string>& range, std::string_view name,
                                    std::string_view pointer) {
    if (!range.ok()) return SchemaError(pointer, std::string(range.status().message()));
    TRI_RETURN_IF_ERROR(Count(pointer, static_cast<int64_t>(range->size() / 8)));
    return AddRule(name, *range);
  }

  absl::StatusOr<std::string> Array(const SchemaJson& schema, std::string_view pointer, int depth) {
    TRI_ASSIGN_OR_RETURN(const auto least_said, CountOf(schema, pointer, "minItems", kMaxItems));
    TRI_ASSIGN_OR_RETURN(const auto most, CountOf(schema, pointer, "maxItems", kMaxItems));
    const int64_t least = least_said.value_or(0);
    if (most && *most < least) return SchemaError(pointer, "maxItems is less than minItems");
    const SchemaJson* rest = Member(schema, "items");
    std::vector<std::string> prefix;
    if (const SchemaJson* list = Member(schema, "prefixItems")) {
      const std::string place = Below(pointer, "prefixItems");
      if (!list->is_array()) return SchemaError(place, "it must be a list of schemas");
      for (size_t i = 0; i < list->size(); ++i) {
        TRI_ASSIGN_OR_RETURN(const std::string item,
                             Value((*list)[i], Below(place, absl::StrFormat("%d", i)), depth + 1));
        if (!most || static_cast<int64_t>(i) < *most) prefix.push_back(item);
      }
    }
    std::string item;
    // After a prefix, items that nothing is said about are left out.
    const bool closed = rest ? rest->is_boolean() && !rest->get<bool>() : !prefix.empty();
    if (!closed && (!most || *most > static_cast<int64_t>(prefix.size()))) {
      TRI_ASSIGN_OR_RETURN(item, rest ? Value(*rest, Below(pointer, "items"), depth + 1)
                                      : absl::StatusOr<std::string>("any_value"));
    }
    if (item.empty() && least > static_cast<int64_t>(prefix.size())) {
      return SchemaError(pointer, "minItems asks for more items than there are schemas for");
    }
    TRI_RETURN_IF_ERROR(Count(pointer, std::max(least, most.value_or(0))));
    return AddRule("array", absl::StrFormat("\"[\" %s %s \"]\"",
                                            ArrayBody({prefix, item, least, most}), kJsonSpace));
  }

  struct ArrayItems {
    std::vector<std::string> prefix;
    std::string rest;  // "": no more after the prefix
    int64_t least = 0;
    std::optional<int64_t> most;
  };

  // From the end: each tail is what may follow item i, and is empty once there are enough.
  std::string ArrayBody(const ArrayItems& items) {
    const auto size = static_cast<int64_t>(items.prefix.size());
    std::string tail;
    if (!items.rest.empty()) {
      const int64_t least = std::max<int64_t>(0, items.least - std::max<int64_t>(size, 1));
      const std::string more =
          items.most ? absl::StrFormat("%d", *items.most - std::max<int64_t>(size, 1)) : "";
      tail = more == "0" ? ""
                         : absl::StrFormat("(%s \",\" %s %s){%d,%s}", kJsonSpace, kJsonSpace,
                                           items.rest, least, more);
      if (size == 0) {
        const std::string some = absl::StrFormat("%s %s %s", kJsonSpace, items.rest, tail);
        return items.least > 0 ? some : absl::StrFormat("(\"\" | %s)", some);
      }
    }
    for (int64_t i = size - 1; i >= 0; --i) {
      const std::string item =
          absl::StrFormat("%s %s %s %s", i == 0 ? "" : absl::StrFormat("%s \",\"", kJsonSpace),
                          kJsonSpace, items.prefix[static_cast<size_t>(i)], tail);
      tail = AddRule("items", i < items.least ? item : absl::StrFormat("\"\" | %s", item));
    }
    return tail;
  }

  absl::StatusOr<std::string> Object(const SchemaJson& schema, std::string_view pointer,
                                     int depth) {
    TRI_ASSIGN_OR_RETURN(const auto least, CountOf(schema, pointer, "minProperties", kMaxItems));
    TRI_ASSIGN_OR_RETURN(const auto most, CountOf(schema, pointer, "maxProperties", kMaxItems));
    std::set<std::string> required;
    if (const SchemaJson* list = Member(schema, "required")) {
      const SchemaJson* named = Member(schema, "properties");
      if (!list->is_array())
        return SchemaError(Below(pointer, "required"), "it must be a list of names");
      for (const SchemaJson& name : *list) {
        if (!name.is_string()) {
          return SchemaError(Below(pointer, "required"), "it must be a list of names");
        }
        if (!named || !named->is_object() || !named->contains(name.get<std::string>())) {
          return SchemaError(Below(pointer, "required"),
                             absl::StrFormat("it names \"%s\", which properties does not",
                                             Printable(name.get<std::string>())));
        }
        required.insert(name.get<std::string>());
      }
    }
    const SchemaJson* others = Member(schema, "additionalProperties");
    if (others && !others->is_boolean() && !others->is_object()) {
      return SchemaError(Below(pointer, "additionalProperties"),
                         "it must be a schema, true or false");
    }
    const SchemaJson* properties = Member(schema, "properties");
    if (properties && !properties->is_object()) {
      return SchemaError(Below(pointer, "properties"), "it must be an object");
    }
    if (!properties || properties->empty()) return Map(schema, pointer, depth);
    const auto count = static_cast<int64_t>(properties->size());
    if (least.value_or(0) > static_cast<int64_t>(required.size()) || (most && *most < count)) {
      return SchemaError(pointer,
                         "minProperties beyond the required properties and maxProperties below the "
                         "named ones are not supported");
    }
    return Record(*properties, required, pointer, depth);
  }

  // An object whose properties are named: those, in their order.
  absl::StatusOr<std::string> Record(const SchemaJson& properties,
                                     const std::set<std::string>& required,
                                     std::string_view pointer, int depth) {
    struct Property {
      std::string pair;
      bool required = false;
    };
    std::vector<Property> pairs;
    for (const auto& [name, schema] : properties.items()) {
      const std::string place = Below(Below(pointer, "properties"), name);
      TRI_ASSIGN_OR_RETURN(const std::string value, Value(schema, place, depth + 1));
      const std::string key = SchemaJson(name).dump();
      TRI_RETURN_IF_ERROR(Count(place, static_cast<int64_t>(key.size())));
      pairs.push_back({absl::StrFormat("%s %s %s \":\" %s %s", kJsonSpace, EbnfLiteral(key),
                                       kJsonSpace, kJsonSpace, value),
                       required.contains(name)});
    }
    // From the end: `first` is what may stand from property i on where none stood before, `later`
    // where one did and a comma must come between.
    std::string first;
    std::string later;
    for (size_t i = pairs.size(); i-- > 0;) {
      const std::string with = absl::StrFormat("%s %s", pairs[i].pair, later);
      const std::string with_comma = absl::StrFormat("%s \",\" %s", kJsonSpace, with);
      const auto or_without = [](const std::string& text, const std::string& without) {
        return absl::StrFormat("%s | %s", text, without.empty() ? "\"\"" : without);
      };
      first = AddRule("first", pairs[i].required ? with : or_without(with, first));
      later = AddRule("later", pairs[i].required ? with_comma : or_without(with_comma, later));
    }
    return AddRule("object", absl::StrFormat("\"{\" %s %s \"}\"", first, kJsonSpace));
  }

  // An object of which the keys are free. Equal keys cannot be prevented, so no least number of
  // different ones can be promised beyond one.
  absl::StatusOr<std::string> Map(const SchemaJson& schema, std::string_view pointer, int depth) {
    TRI_ASSIGN_OR_RETURN(const auto least, CountOf(schema, pointer, "minProperties", 1));
    TRI_ASSIGN_OR_RETURN(const auto most, CountOf(schema, pointer, "maxProperties", kMaxItems));
    const SchemaJson* others = Member(schema, "additionalProperties");
    const bool closed = (others && others->is_boolean() && !others->get<bool>()) || most == 0;
    if (closed || (most && *most < least.value_or(0))) {
      if (least.value_or(0) > 0)
        return SchemaError(pointer, "no property can be there, but one must");
      return AddRule("object", absl::StrFormat("\"{\" %s \"}\"", kJsonSpace));
    }
    std::string value = "any_value";
    if (others && others->is_object()) {
      TRI_ASSIGN_OR_RETURN(value,
                           Value(*others, Below(pointer, "additionalProperties"), depth + 1));
    }
    if (!least && !most && value == "any_value") return std::string("any_object");
    TRI_RETURN_IF_ERROR(Count(pointer, most.value_or(0)));
    const std::string pair = AddRule("pair", absl::StrFormat("%s string %s \":\" %s %s", kJsonSpace,
                                                             kJsonSpace, kJsonSpace, value));
    const std::string more = most ? absl::StrFormat("%d", *most - 1) : "";
    std::string body = pair;
    if (more != "0") {
      absl::StrAppendFormat(&body, " (%s \",\" %s){0,%s}", kJsonSpace, pair, more);
    }
    if (least.value_or(0) == 0) body = absl::StrFormat("(\"\" | %s)", body);
    return AddRule("object", absl::StrFormat("\"{\" %s %s \"}\"", body, kJsonSpace));
  }

  const SchemaJson& root_;
  std::vector<std::pair<std::string, std::string>> rules_;  // name, right-hand side
  std::vector<std::string> references_;                     // in the order in which they came up
  std::map<std::string, std::string> reference_rules_;
  std::map<std::string, std::string> text_rules_;  // by expression
  int nodes_ = 0;
  int64_t cost_ = 0;
};

}  // namespace

absl::StatusOr<std::string> SchemaToEbnf(std::string_view schema) {
  TRI_ASSIGN_OR_RETURN(const SchemaJson root, ParseSchema(schema));
  return SchemaWriter(root).Write();
}

std::string JsonObjectEbnf() { return JsonRules() + "root ::= any_object\n"; }

}  // namespace trireme
