// JSON's own grammar, which the grammars of schemas build on, and the formats of strings.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace trireme {

// What may stand between two tokens of JSON: nothing, a space, or a new line and its indentation.
// Bounded, so that a model cannot go on with spaces for ever.
inline constexpr std::string_view kJsonSpace = "(\"\" | \" \" | \"\\n\" [ \\t]{0,32})";

// The rules any_value, any_object, any_array, string, integer,
// number, boolean, null, one a line. Escapes of surrogates come in pairs only; numbers have at most
// 15 digits before the point, 15 behind, and two in the exponent, so that each can be read as a
// double.
std::string JsonRules();

// JSON Schema's "format": a regular expression, tied to both ends, all of whose matches have the
// format; nullopt for one that is not known.
std::optional<std::string> FormatPattern(std::string_view format);
// "date, time, …"
std::string FormatNames();

}  // namespace trireme
