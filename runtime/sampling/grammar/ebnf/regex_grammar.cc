#include "runtime/sampling/grammar/ebnf/regex_grammar.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "runtime/base/printable.h"
#include "runtime/base/status_macros.h"
#include "runtime/sampling/grammar/ebnf/code_point_set.h"

namespace trireme {
namespace {

// What a class stands for in every dialect, and what in any: what is generated must be in the
// first, what is excluded must leave out the second.
struct ClassMeaning {
  CodePointSet narrow;
  CodePointSet wide;

  ClassMeaning Negated() const { return {wide.Complement(), narrow.Complement()}; }
  void Add(const ClassMeaning& other) {
    narrow.Add(other.narrow);
    wide.Add(other.wide);
  }
};

ClassMeaning Exactly(CodePointSet set) { return {set, set}; }

ClassMeaning Digit() {
  // From U+0660 on there are digits of other scripts.
  return {CodePointSet({{'0', '9'}}), CodePointSet({{'0', '9'}, {0x660, CodePointSet::kLast}})};
}

ClassMeaning Word() {
  const CodePointSet ascii({{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}});
  ClassMeaning word = Exactly(ascii);
  word.wide.Add(CodePointSet({{0x80, CodePointSet::kLast}}));
  return word;
}

ClassMeaning Space() {
  return {CodePointSet({{'\t', '\r'}, {' ', ' '}}), CodePointSet({{'\t', '\r'},
                                                                  {0x1c, ' '},
                                                                  {0x85, 0x85},
                                                                  {0xa0, 0xa0},
                                                                  {0x1680, 0x1680},
                                                                  {0x2000, 0x200a},
                                                                  {0x2028, 0x2029},
                                                                  {0x202f, 0x202f},
                                                                  {0x205f, 0x205f},
                                                                  {0x3000, 0x3000},
                                                                  {0xfeff, 0xfeff}})};
}

ClassMeaning AnyButLineEnd() {
  const CodePointSet ends({{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}});
  return Exactly(ends.Complement());
}

// JSON's two-character escapes.
std::optional<char> ShortEscape(uint32_t code_point) {
  switch (code_point) {
    case '"':
    case '\\':
      return static_cast<char>(code_point);
    case '\b':
      return 'b';
    case '\f':
      return 'f';
    case '\n':
      return 'n';
    case '\r':
      return 'r';
    case '\t':
      return 't';
    default:
      return std::nullopt;
  }
}

const CodePointSet& RawInJson() {
  static const CodePointSet set = CodePointSet({{0, 0x1f}, {'"', '"'}, {'\\', '\\'}}).Complement();
  return set;
}

// What JSON writes as \uXXXX beside the short escapes: any character but surrogates, and those in
// pairs.
constexpr std::string_view kLongEscape =
    "u(?:[0-9abcefABCEF][0-9a-fA-F]{3}|[dD][0-7][0-9a-fA-F]{2}|"
    "[dD][89abAB][0-9a-fA-F]{2}\\\\u[dD][c-fC-F][0-9a-fA-F]{2})";

// The library's own regular expressions become one automaton, so that its token masks are known
// when the grammar is compiled; nested rules would be followed anew for each mask.
std::string Ebnf(std::string_view regex) {
  return absl::StrFormat("Regex(%s)", EbnfLiteral(regex));
}

// The library's automata for repetitions and alternatives share their first and last states with
// what stands beside them: `(?:ab+)?` would also match "b". An empty group at either end keeps them
// apart (compared with Python's re on all texts of two letters up to six long).
std::string Apart(std::string_view regex) { return absl::StrFormat("(?:(?:)%s(?:))", regex); }
std::string Repeated(std::string_view regex, std::string_view count) {
  return Apart(Apart(regex) + std::string(count));
}

// One character of the set, as it stands in the text or inside a JSON string. Control characters
// that JSON writes as \u00XX are generated only where the expression names just that one.
std::string OneOf(const CodePointSet& set, RegexUse use) {
  if (use == RegexUse::kWholeText) return set.RegexClass();
  std::string alternatives;
  const auto add = [&alternatives](const std::string& text) {
    alternatives += (alternatives.empty() ? "" : "|") + text;
  };
  const CodePointSet raw = set.Intersection(RawInJson());
  if (!raw.empty()) add(raw.RegexClass());
  std::vector<std::pair<uint32_t, uint32_t>> escaped;
  for (const char c : {'"', '\\', '\b', '\f', '\n', '\r', '\t'}) {
    if (!set.Contains(static_cast<uint32_t>(c))) continue;
    const auto letter = static_cast<uint32_t>(*ShortEscape(static_cast<uint32_t>(c)));
    escaped.emplace_back(letter, letter);
  }
  if (!escaped.empty()) add("\\\\" + CodePointSet(std::move(escaped)).RegexClass());
  if (alternatives.empty() && set.Single() >= 0) {
    add(absl::StrFormat("\\\\u%04x", set.Single()));
  }
  return alternatives.empty() ? "" : "(?:" + alternatives + ")";
}

// Reads by recursive descent, and writes the grammar as it goes.
class RegexReader {
 public:
  RegexReader(std::string_view regex, RegexUse use) : regex_(regex), use_(use) {}

  absl::StatusOr<RegexExpression> Read() {
    if (!IsUtf8(regex_)) return Error("it is not valid UTF-8");
    const bool from_start = Take('^');
    TRI_ASSIGN_OR_RETURN(RegexExpression whole, Alternatives(0));
    if (at_ < regex_.size()) return Error("a ')' without its '('");
    const std::string regex = "(?:" + whole.ebnf + ")";
    if (use_ == RegexUse::kWholeText) return RegexExpression{Ebnf(regex), whole.cost};
    // A pattern may match anywhere in the string unless it is tied to an end.
    const CodePointSet all = CodePointSet().Complement();
    const std::string any = Repeated(OneOf(all, use_), "*");
    return RegexExpression{
        Ebnf("\"" + (from_start ? "" : any) + regex + (to_end_ ? "" : any) + "\""),
        whole.cost + 2 * all.Cost()};
  }

 private:
  absl::Status Error(std::string_view what) const {
    return absl::InvalidArgumentError(
        absl::StrFormat("regular expression \"%s\", byte %d: %s", Printable(regex_), at_, what));
  }

  bool More() const { return at_ < regex_.size(); }
  bool Take(char c) {
    if (!More() || regex_[at_] != c) return false;
    ++at_;
    return true;
  }

  absl::StatusOr<RegexExpression> Alternatives(int depth) {
    if (depth > kMaxRegexDepth) {
      return Error(absl::StrFormat("groups nest deeper than %d", kMaxRegexDepth));
    }
    RegexExpression all;
    bool several = false;
    do {
      TRI_ASSIGN_OR_RETURN(const RegexExpression one, Sequence(depth));
      several = several || (More() && regex_[at_] == '|');
      all.ebnf += (all.ebnf.empty() ? "" : "|") + (several ? Apart(one.ebnf) : one.ebnf);
      all.cost += one.cost;
    } while (Take('|'));
    return all;
  }

  absl::StatusOr<RegexExpression> Sequence(int depth) {
    RegexExpression sequence;
    while (More() && regex_[at_] != '|' && regex_[at_] != ')') {
      if (regex_[at_] == '$' && at_ + 1 == regex_.size()) {
        ++at_;
        to_end_ = true;
        break;
      }
      TRI_ASSIGN_OR_RETURN(RegexExpression atom, Atom(depth));
      TRI_RETURN_IF_ERROR(Quantify(atom));
      sequence.ebnf += atom.ebnf;
      sequence.cost += atom.cost;
    }
    return sequence;
  }

  absl::StatusOr<RegexExpression> Atom(int depth) {
    switch (regex_[at_]) {
      case '(':
        return Group(depth);
      case '[':
        return Class();
      case '^':
      case '$':
        return Error("'^' may only begin and '$' only end the whole expression");
      case '*':
      case '+':
      case '?':
        return Error("there is nothing to repeat");
      case '{':
      case '}':
      case ']':
        return Error(absl::StrFormat("write '%c' as '\\%c'", regex_[at_], regex_[at_]));
      case '.':
        ++at_;
        return Character(AnyButLineEnd());
      case '\\': {
        TRI_ASSIGN_OR_RETURN(const ClassMeaning meaning, Escape());
        return Character(meaning);
      }
      default: {
        const uint32_t code_point = NextCodePoint(regex_, at_);
        return Character(Exactly(CodePointSet({{code_point, code_point}})));
      }
    }
  }

  absl::StatusOr<RegexExpression> Character(const ClassMeaning& meaning) {
    const std::string text = meaning.narrow.empty() ? "" : OneOf(meaning.narrow, use_);
    if (text.empty()) return Error("nothing can match before this");
    return RegexExpression{text, meaning.narrow.Cost()};
  }

  absl::StatusOr<RegexExpression> Group(int depth) {
    ++at_;
    if (Take('?')) {
      if (!Take(':')) {
        Take('P');
        if (!Take('<') || !More() || regex_[at_] == '=' || regex_[at_] == '!') {
          return Error("look-around and flags are not supported");
        }
        const size_t end = regex_.find('>', at_);
        if (end == std::string_view::npos) return Error("a group's name without its '>'");
        at_ = end + 1;
      }
    }
    TRI_ASSIGN_OR_RETURN(RegexExpression inner, Alternatives(depth + 1));
    if (to_end_ || !Take(')')) return Error("a '(' without its ')'");
    inner.ebnf = "(?:" + inner.ebnf + ")";
    return inner;
  }

  absl::StatusOr<RegexExpression> Class() {
    ++at_;
    const bool negated = Take('^');
    ClassMeaning all;
    bool first = true;
    while (More() && regex_[at_] != ']') {
      first = false;
      TRI_ASSIGN_OR_RETURN(ClassMeaning item, ClassItem());
      if (More() && regex_[at_] == '-' && at_ + 1 < regex_.size() && regex_[at_ + 1] != ']') {
        ++at_;
        TRI_ASSIGN_OR_RETURN(const ClassMeaning last, ClassItem());
        const int64_t low = item.narrow.Single();
        const int64_t high = last.narrow.Single();
        if (low < 0 || high < low) return Error("a range that is none");
        item = Exactly(CodePointSet({{static_cast<uint32_t>(low), static_cast<uint32_t>(high)}}));
      }
      all.Add(item);
    }
    if (!Take(']')) return Error("a '[' without its ']'");
    if (first) return Error("a class without characters");
    return Character(negated ? all.Negated() : all);
  }

  absl::StatusOr<ClassMeaning> ClassItem() {
    if (!More()) return Error("a '[' without its ']'");
    if (regex_[at_] == '\\') return Escape();
    if (regex_[at_] == '[') return Error("write '[' in a class as '\\['");
    const uint32_t code_point = NextCodePoint(regex_, at_);
    return Exactly(CodePointSet({{code_point, code_point}}));
  }

  absl::StatusOr<ClassMeaning> Escape() {
    ++at_;
    if (!More()) return Error("a '\\' at the end");
    const char c = regex_[at_++];
    const auto single = [](uint32_t code_point) {
      return Exactly(CodePointSet({{code_point, code_point}}));
    };
    switch (c) {
      case 'd':
        return Digit();
      case 'D':
        return Digit().Negated();
      case 'w':
        return Word();
      case 'W':
        return Word().Negated();
      case 's':
        return Space();
      case 'S':
        return Space().Negated();
      case 't':
        return single('\t');
      case 'n':
        return single('\n');
      case 'r':
        return single('\r');
      case 'f':
        return single('\f');
      case 'v':
        return single('\v');
      case 'x':
        return HexEscape(2);
      case 'u':
        return HexEscape(4);
      default:
        break;
    }
    const auto byte = static_cast<unsigned char>(c);
    const bool letter_or_digit = (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') ||
                                 (byte >= 'a' && byte <= 'z') || byte >= 0x80;
    if (letter_or_digit) return Error("this escape is not supported");
    return single(byte);
  }

  absl::StatusOr<ClassMeaning> HexEscape(int digits) {
    uint32_t value = 0;
    for (int i = 0; i < digits; ++i) {
      if (!More()) return Error("an escape without its digits");
      const char c = regex_[at_++];
      if (c >= '0' && c <= '9') {
        value = value * 16 + static_cast<uint32_t>(c - '0');
      } else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f') {
        value = value * 16 + static_cast<uint32_t>((c | 0x20) - 'a' + 10);
      } else {
        return Error("an escape without its digits");
      }
    }
    if (value >= 0xD800 && value <= 0xDFFF) return Error("half of a surrogate pair");
    return Exactly(CodePointSet({{value, value}}));
  }

  // A number of at most 4 digits, or nothing.
  std::optional<int64_t> Number() {
    const size_t start = at_;
    int64_t value = 0;
    while (More() && regex_[at_] >= '0' && regex_[at_] <= '9' && at_ - start < 4) {
      value = value * 10 + (regex_[at_++] - '0');
    }
    if (at_ == start) return std::nullopt;
    return value;
  }

  absl::Status Quantify(RegexExpression& atom) {
    if (!More()) return absl::OkStatus();
    int64_t copies = 1;
    if (Take('*') || Take('?')) {
      atom.ebnf = Repeated(atom.ebnf, regex_.substr(at_ - 1, 1));
    } else if (Take('+')) {
      atom.ebnf = Repeated(atom.ebnf, "+");
      copies = 2;
    } else if (Take('{')) {
      const std::optional<int64_t> low = Number();
      if (!low) return Error("a '{' without its count; write a plain '{' as '\\{'");
      std::optional<int64_t> high = low;
      if (Take(',')) high = Number();
      if (!Take('}') || *low > kMaxRepeats || high.value_or(0) > kMaxRepeats) {
        return Error(
            absl::StrFormat("a count must be {n}, {n,} or {n,m}, at most %d", kMaxRepeats));
      }
      if (high && *high < *low) return Error("a count whose end is before its start");
      if (high == 0) {
        atom = RegexExpression{"(?:)", 0};
      } else {
        atom.ebnf = Repeated(atom.ebnf, high ? absl::StrFormat("{%d,%d}", *low, *high)
                                             : absl::StrFormat("{%d,}", *low));
        copies = high ? *high : *low + 1;
      }
    } else {
      return absl::OkStatus();
    }
    Take('?');
    if (More() &&
        (regex_[at_] == '*' || regex_[at_] == '+' || regex_[at_] == '?' || regex_[at_] == '{')) {
      return Error("a repetition of a repetition; group it");
    }
    atom.cost *= copies;
    if (atom.cost > kMaxGrammarCost) return TooLarge();
    return absl::OkStatus();
  }

  absl::Status TooLarge() const {
    return Error(
        absl::StrFormat("it is too large: it costs more than %d to compile", kMaxGrammarCost));
  }

  const std::string_view regex_;
  const RegexUse use_;
  size_t at_ = 0;
  bool to_end_ = false;  // the final '$' has been read
};

}  // namespace

absl::StatusOr<RegexExpression> RegexToEbnf(std::string_view regex, RegexUse use) {
  TRI_ASSIGN_OR_RETURN(RegexExpression expression, RegexReader(regex, use).Read());
  if (expression.cost > kMaxGrammarCost) {
    return absl::InvalidArgumentError(
        absl::StrFormat("regular expression \"%s\" is too large: it costs more than %d to compile",
                        Printable(regex), kMaxGrammarCost));
  }
  return expression;
}

RegexExpression JsonTextEbnf(int64_t least, std::optional<int64_t> most) {
  const std::string counts =
      most ? absl::StrFormat("{%d,%d}", least, *most) : absl::StrFormat("{%d,}", least);
  const std::string character = absl::StrFormat("(?:%s|\\\\(?:[\\\"\\\\\\/bfnrt]|%s))",
                                                RawInJson().RegexClass(), kLongEscape);
  return {Ebnf("\"" + Repeated(character, counts) + "\""),
          RawInJson().Cost() * std::max(least + 1, most.value_or(0))};
}

}  // namespace trireme
