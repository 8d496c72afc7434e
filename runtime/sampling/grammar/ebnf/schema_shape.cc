#include "runtime/sampling/grammar/ebnf/schema_shape.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_format.h"
#include "runtime/base/printable.h"
#include "runtime/sampling/grammar/ebnf/schema_grammar.h"

namespace trireme {
namespace {

// nlohmann keeps the last of two equal keys; which one counts is not left to the reader here.
class DuplicateKeys {
 public:
  bool operator()(int depth, SchemaJson::parse_event_t event, SchemaJson& parsed) {
    if (depth > kMaxSchemaDepth * 3) too_deep_ = true;
    if (event == SchemaJson::parse_event_t::object_start) keys_.emplace_back();
    if (event == SchemaJson::parse_event_t::object_end) keys_.pop_back();
    if (event == SchemaJson::parse_event_t::key &&
        !keys_.back().insert(parsed.get<std::string>()).second && duplicate_.empty()) {
      duplicate_ = parsed.get<std::string>();
      found_ = true;
    }
    return !too_deep_;
  }
  bool too_deep() const { return too_deep_; }
  bool found() const { return found_; }
  const std::string& duplicate() const { return duplicate_; }

 private:
  std::vector<std::set<std::string>> keys_;
  std::string duplicate_;
  bool found_ = false;
  bool too_deep_ = false;
};

const SchemaJson* Member(const SchemaJson& schema, const char* key) {
  if (!schema.is_object()) return nullptr;
  const auto found = schema.find(key);
  return found == schema.end() ? nullptr : &*found;
}

bool NamesType(const SchemaJson& type, std::string_view name) {
  if (type.is_string()) return type.get_ref<const std::string&>() == name;
  return type.is_array() && std::any_of(type.begin(), type.end(), [name](const SchemaJson& one) {
           return one.is_string() && one.get_ref<const std::string&>() == name;
         });
}

// The alternatives that a schema only hands on to, without a character of its own.
std::vector<const SchemaJson*> Alternatives(const SchemaJson& schema) {
  std::vector<const SchemaJson*> all;
  for (const char* keyword : {"anyOf", "oneOf", "allOf"}) {
    if (const SchemaJson* list = Member(schema, keyword); list && list->is_array()) {
      for (const SchemaJson& one : *list) all.push_back(&one);
    }
  }
  return all;
}

const std::string* Reference(const SchemaJson& schema) {
  const SchemaJson* reference = Member(schema, "$ref");
  return reference && reference->is_string() ? &reference->get_ref<const std::string&>() : nullptr;
}

// Whether some finite text meets a schema, if the references in `ending` can be met.
bool CanEnd(const SchemaJson& schema, const std::set<std::string>& ending) {
  if (const std::string* reference = Reference(schema)) return ending.contains(*reference);
  if (Member(schema, "const") || Member(schema, "enum")) return true;
  if (const auto alternatives = Alternatives(schema); !alternatives.empty()) {
    return std::any_of(alternatives.begin(), alternatives.end(),
                       [&ending](const SchemaJson* one) { return CanEnd(*one, ending); });
  }
  if (const SchemaJson* type = Member(schema, "type");
      type && type->is_array() && type->size() > 1) {
    const bool simple = std::any_of(type->begin(), type->end(), [](const SchemaJson& one) {
      return one != "object" && one != "array";
    });
    if (simple) return true;
  }
  const SchemaJson* properties = Member(schema, "properties");
  const SchemaJson* required = Member(schema, "required");
  if (properties && required && properties->is_object() && required->is_array()) {
    for (const SchemaJson& name : *required) {
      if (!name.is_string()) continue;
      const SchemaJson* property = Member(*properties, name.get_ref<const std::string&>().c_str());
      if (property && !CanEnd(*property, ending)) return false;
    }
  }
  const SchemaJson* least = Member(schema, "minItems");
  size_t items = least && least->is_number_unsigned() ? least->get<size_t>() : 0;
  if (const SchemaJson* prefix = Member(schema, "prefixItems"); prefix && prefix->is_array()) {
    for (const SchemaJson& one : *prefix) {
      if (items == 0) break;
      if (!CanEnd(one, ending)) return false;
      --items;
    }
  }
  const SchemaJson* rest = Member(schema, "items");
  return items == 0 || rest == nullptr || CanEnd(*rest, ending);
}

void DirectReferences(const SchemaJson& schema, std::set<std::string>& found) {
  if (const std::string* reference = Reference(schema)) found.insert(*reference);
  for (const SchemaJson* one : Alternatives(schema)) DirectReferences(*one, found);
}

}  // namespace

absl::StatusOr<SchemaJson> ParseSchema(std::string_view text) {
  DuplicateKeys watch;
  // A depth within which nlohmann's own recursion is harmless is kept by the callback's depth; the
  // parser itself does not recurse.
  SchemaJson parsed = SchemaJson::parse(
      text.begin(), text.end(),
      [&watch](int depth, SchemaJson::parse_event_t event, SchemaJson& value) {
        return watch(depth, event, value);
      },
      /*allow_exceptions=*/false);
  if (watch.too_deep()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("JSON Schema: nests deeper than %d", kMaxSchemaDepth));
  }
  if (parsed.is_discarded()) return absl::InvalidArgumentError("JSON Schema: it is not valid JSON");
  if (watch.found()) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "JSON Schema: the key \"%s\" is there twice in one object", Printable(watch.duplicate())));
  }
  return parsed;
}

absl::StatusOr<const SchemaJson*> ResolveReference(const SchemaJson& root,
                                                   const std::string& reference) {
  const auto error = [&reference](std::string_view what) {
    return absl::InvalidArgumentError(
        absl::StrFormat("$ref \"%s\": %s", Printable(reference), what));
  };
  if (reference == "#") return &root;
  if (reference.rfind("#/", 0) != 0 || reference.find('%') != std::string::npos) {
    return error("only references into the same schema are supported (\"#\" or \"#/$defs/name\")");
  }
  const SchemaJson* at = &root;
  for (size_t from = 2; from <= reference.size();) {
    const size_t slash = std::min(reference.find('/', from), reference.size());
    std::string name;
    for (size_t i = from; i < slash; ++i) {
      if (reference[i] == '~' && i + 1 < slash && (reference[i + 1] | 1) == '1') {
        name += reference[++i] == '0' ? '~' : '/';
      } else {
        name += reference[i];
      }
    }
    if (!at->is_object() || !at->contains(name)) return error("the schema has no such place");
    at = &(*at)[name];
    from = slash + 1;
  }
  return at;
}

absl::Status CheckEnds(const SchemaJson& root, const std::vector<std::string>& references) {
  std::map<std::string, const SchemaJson*> targets;
  for (const std::string& reference : references) {
    const auto target = ResolveReference(root, reference);
    if (!target.ok()) return target.status();
    targets[reference] = *target;
  }
  for (const auto& [start, target] : targets) {
    std::set<std::string> reached;
    DirectReferences(*target, reached);
    for (std::vector<std::string> queue(reached.begin(), reached.end()); !queue.empty();) {
      const std::string next = queue.back();
      queue.pop_back();
      if (next == start) {
        return absl::InvalidArgumentError(absl::StrFormat(
            "$ref \"%s\" leads back to itself with nothing in between", Printable(start)));
      }
      std::set<std::string> further;
      if (targets.contains(next)) DirectReferences(*targets[next], further);
      for (const std::string& one : further) {
        if (reached.insert(one).second) queue.push_back(one);
      }
    }
  }
  std::set<std::string> ending;
  for (bool grew = true; grew;) {
    grew = false;
    for (const auto& [reference, target] : targets) {
      if (!ending.contains(reference) && CanEnd(*target, ending)) {
        ending.insert(reference);
        grew = true;
      }
    }
  }
  for (const auto& [reference, target] : targets) {
    if (!ending.contains(reference)) {
      return absl::InvalidArgumentError(
          absl::StrFormat("$ref \"%s\": no finite JSON meets it, for it always contains itself",
                          Printable(reference)));
    }
  }
  if (!CanEnd(root, ending)) {
    return absl::InvalidArgumentError("no finite JSON meets the schema");
  }
  return absl::OkStatus();
}

bool HasType(const SchemaJson& value, std::string_view type) {
  if (type == "null") return value.is_null();
  if (type == "boolean") return value.is_boolean();
  if (type == "string") return value.is_string();
  if (type == "array") return value.is_array();
  if (type == "object") return value.is_object();
  if (type == "number") return value.is_number();
  if (type != "integer" || !value.is_number()) return false;
  return value.is_number_integer() || std::floor(value.get<double>()) == value.get<double>();
}

namespace {

// The values that a schema is limited to by const or enum; empty when it is not.
std::vector<const SchemaJson*> Constants(const SchemaJson& schema) {
  std::vector<const SchemaJson*> values;
  if (const SchemaJson* value = Member(schema, "const")) {
    values.push_back(value);
  } else if (const SchemaJson* list = Member(schema, "enum"); list && list->is_array()) {
    for (const SchemaJson& one : *list) values.push_back(&one);
  }
  return values;
}

bool ConstantsDiffer(const std::vector<const SchemaJson*>& a,
                     const std::vector<const SchemaJson*>& b) {
  if (a.empty() || b.empty()) return false;
  for (const SchemaJson* one : a) {
    for (const SchemaJson* other : b) {
      // Objects are compared with their keys in order, so two of them may be equal all the same.
      if (*one == *other || (one->is_structured() && other->is_structured())) return false;
    }
  }
  return true;
}

constexpr const char* kTypes[] = {"null",   "boolean", "string", "array",
                                  "object", "integer", "number"};

bool MayBe(const SchemaJson& schema, const char* type) {
  const auto values = Constants(schema);
  if (!values.empty()) {
    return std::any_of(values.begin(), values.end(),
                       [type](const SchemaJson* value) { return HasType(*value, type); });
  }
  const SchemaJson* named = Member(schema, "type");
  if (named == nullptr) return true;
  return NamesType(*named, type) ||
         (std::string_view(type) == "integer" && NamesType(*named, "number"));
}

bool Requires(const SchemaJson& schema, const std::string& property) {
  const SchemaJson* required = Member(schema, "required");
  return required && required->is_array() &&
         std::any_of(required->begin(), required->end(),
                     [&property](const SchemaJson& name) { return name == property; });
}

}  // namespace

bool Disjoint(const SchemaJson& root, const SchemaJson& a, const SchemaJson& b) {
  for (const SchemaJson* one : {&a, &b}) {
    if (const std::string* reference = Reference(*one)) {
      const auto target = ResolveReference(root, *reference);
      if (!target.ok() || Reference(**target)) return false;
      return one == &a ? Disjoint(root, **target, b) : Disjoint(root, a, **target);
    }
  }
  if (ConstantsDiffer(Constants(a), Constants(b))) return true;
  const bool no_type_of_both =
      std::none_of(std::begin(kTypes), std::end(kTypes),
                   [&a, &b](const char* type) { return MayBe(a, type) && MayBe(b, type); });
  if (no_type_of_both) return true;
  // A property that both require, with constants that differ, tells two objects apart.
  const bool only_objects =
      std::none_of(std::begin(kTypes), std::end(kTypes), [&a, &b](const char* type) {
        return std::string_view(type) != "object" && MayBe(a, type) && MayBe(b, type);
      });
  const SchemaJson* properties = Member(a, "properties");
  const SchemaJson* others = Member(b, "properties");
  if (!only_objects || !properties || !others || !properties->is_object()) return false;
  for (const auto& [name, property] : properties->items()) {
    const SchemaJson* other = Member(*others, name.c_str());
    if (other && Requires(a, name) && Requires(b, name) &&
        ConstantsDiffer(Constants(property), Constants(*other))) {
      return true;
    }
  }
  return false;
}

}  // namespace trireme
