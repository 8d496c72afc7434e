#include "runtime/sampling/grammar/ebnf/json_rules.h"

#include "absl/strings/str_format.h"

namespace trireme {
namespace {

// After a string comes space and one of these (or the end): what a token holds beyond the closing
// quote is settled by them, without looking at all places where strings stand.
constexpr std::string_view kAfterString = "(= [ \\n\\t]* [,:}\\]])";

struct Format {
  std::string_view name;
  std::string_view pattern;
};

// No day that the shortest month lacks in a leap year's absence: 29 to 31 stand only where they
// exist every year.
#define TRIREME_DATE                                                                     \
  "[0-9]{4}-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|" \
  "(?:0[13578]|1[02])-31)"
#define TRIREME_TIME                                                                              \
  "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,6})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-" \
  "5][0-9])"
constexpr Format kFormats[] = {
    {"date", "^" TRIREME_DATE "$"},
    {"time", "^" TRIREME_TIME "$"},
    {"date-time", "^" TRIREME_DATE "T" TRIREME_TIME "$"},
    {"uuid", "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"},
    {"ipv4",
     "^(?:(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\\.){3}"
     "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])$"},
    {"email",
     "^[A-Za-z0-9_%+-]{1,12}(?:\\.[A-Za-z0-9_%+-]{1,12}){0,3}@"
     "(?:[a-z0-9](?:[a-z0-9-]{0,12}[a-z0-9])?\\.){1,3}[a-z]{2,8}$"},
    {"hostname",
     "^(?:[a-z0-9](?:[a-z0-9-]{0,12}[a-z0-9])?\\.){0,3}[a-z](?:[a-z0-9-]{0,12}[a-z0-9])?$"},
};
#undef TRIREME_DATE
#undef TRIREME_TIME

}  // namespace

std::string JsonRules() {
  const std::string_view space = kJsonSpace;
  std::string rules =
      "any_value ::= string | number | any_object | any_array | boolean | null\n"
      "boolean ::= \"true\" | \"false\"\n"
      "null ::= \"null\"\n"
      "digits ::= [0-9]{1,15}\n"
      "natural ::= \"0\" | [1-9] [0-9]{0,14}\n"
      "integer ::= natural | \"-\" natural\n"
      "number ::= integer (\"\" | \".\" digits) (\"\" | [eE] (\"\" | [+\\-]) [0-9]{1,2})\n"
      // Everything but quotes, backslashes, control characters and surrogates.
      "hex ::= [0-9a-fA-F]\n"
      "escape ::= \"\\\\\" ([\"\\\\/bfnrt] | \"u\" unicode)\n"
      "unicode ::= [0-9abcefABCEF] hex hex hex | [dD] [0-7] hex hex"
      " | [dD] [89abAB] hex hex \"\\\\u\" [dD] [c-fC-F] hex hex\n";
  absl::StrAppendFormat(&rules, "string ::= \"\\\"\" string_rest\n");
  absl::StrAppendFormat(
      &rules,
      "string_rest ::= (\"\\\"\" | [ !#-\\[\\]-\\ud7ff\\ue000-\\U0010ffff] string_rest"
      " | escape string_rest) %s\n",
      kAfterString);
  absl::StrAppendFormat(&rules, "pair ::= %s string %s \":\" %s any_value\n", space, space, space);
  absl::StrAppendFormat(&rules, "any_object ::= \"{\" (\"\" | pair (%s \",\" pair)*) %s \"}\"\n",
                        space, space);
  absl::StrAppendFormat(
      &rules, "any_array ::= \"[\" (\"\" | %s any_value (%s \",\" %s any_value)*) %s \"]\"\n",
      space, space, space, space);
  return rules;
}

std::optional<std::string> FormatPattern(std::string_view format) {
  for (const Format& known : kFormats) {
    if (known.name == format) return std::string(known.pattern);
  }
  return std::nullopt;
}

std::string FormatNames() {
  std::string names;
  for (const Format& known : kFormats) {
    names += (names.empty() ? "" : ", ") + std::string(known.name);
  }
  return names;
}

}  // namespace trireme
