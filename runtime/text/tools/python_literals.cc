#include "runtime/text/tools/python_literals.h"

#include <charconv>
#include <cmath>
#include <cstdint>
#include <utility>

namespace trireme {
namespace {

bool IsNameStart(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsNamePart(char c) { return IsNameStart(c) || IsDigit(c) || c == '.' || c == '-'; }

void AppendUtf8(uint32_t code, std::string& out) {
  const auto tail = [&](int shift) { out += static_cast<char>(0x80 | ((code >> shift) & 0x3F)); };
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += static_cast<char>(0xC0 | (code >> 6));
    tail(0);
  } else {
    out += static_cast<char>(0xE0 | (code >> 12));
    tail(6);
    tail(0);
  }
}

}  // namespace

// Each step of a reading: what is not read ends it.
#define TRI_READ(expression)                                                             \
  do {                                                                                   \
    if (const ReadOutcome tri_outcome = (expression); tri_outcome != ReadOutcome::kRead) \
      return tri_outcome;                                                                \
  } while (false)

void PythonReader::SkipBlanks() {
  while (!AtEnd() && (Peek() == ' ' || Peek() == '\n' || Peek() == '\t' || Peek() == '\r')) {
    ++position_;
  }
}

ReadOutcome PythonReader::Expect(char c) {
  SkipBlanks();
  if (AtEnd()) return ReadOutcome::kMore;
  if (Peek() != c) return ReadOutcome::kNothing;
  ++position_;
  return ReadOutcome::kRead;
}

ReadOutcome PythonReader::ReadName(std::string& name) {
  SkipBlanks();
  if (AtEnd()) return ReadOutcome::kMore;
  if (!IsNameStart(Peek())) return ReadOutcome::kNothing;
  const size_t begin = position_;
  while (!AtEnd() && IsNamePart(Peek())) ++position_;
  name = text_.substr(begin, position_ - begin);
  return AtEnd() ? ReadOutcome::kMore : ReadOutcome::kRead;
}

ReadOutcome PythonReader::ReadCall(std::string& name, Json& arguments) {
  arguments = Json::object();
  TRI_READ(ReadName(name));
  TRI_READ(Expect('('));
  if (const ReadOutcome empty = Expect(')'); empty != ReadOutcome::kNothing) return empty;
  while (true) {
    TRI_READ(ReadArgument(arguments));
    const ReadOutcome more = Expect(',');
    if (more == ReadOutcome::kMore) return more;
    if (more == ReadOutcome::kNothing) return Expect(')');
    if (const ReadOutcome last = Expect(')'); last != ReadOutcome::kNothing) return last;
  }
}

ReadOutcome PythonReader::ReadArgument(Json& arguments) {
  std::string name;
  TRI_READ(ReadName(name));
  TRI_READ(Expect('='));
  Json value;
  TRI_READ(ReadValue(0, value));
  if (arguments.contains(name)) return ReadOutcome::kNothing;
  arguments[name] = std::move(value);
  return ReadOutcome::kRead;
}

ReadOutcome PythonReader::ReadValue(int depth, Json& value) {
  if (depth >= kMaxDepth) return ReadOutcome::kNothing;
  SkipBlanks();
  if (AtEnd()) return ReadOutcome::kMore;
  const char c = Peek();
  if (c == '\'' || c == '"') {
    std::string text;
    TRI_READ(ReadText(text));
    value = std::move(text);
    return ReadOutcome::kRead;
  }
  if (c == '[' || c == '(') {
    ++position_;
    return ReadList(c == '[' ? ']' : ')', depth, value);
  }
  if (c == '{') {
    ++position_;
    return ReadDict(depth, value);
  }
  return IsNameStart(c) ? ReadWord(value) : ReadNumber(value);
}

ReadOutcome PythonReader::ReadText(std::string& value) {
  const char quote = Peek();
  ++position_;
  while (!AtEnd()) {
    const char c = Peek();
    ++position_;
    if (c == quote) return ReadOutcome::kRead;
    if (c == '\n') return ReadOutcome::kNothing;
    if (c == '\\') {
      TRI_READ(ReadEscape(value));
    } else {
      value += c;
    }
  }
  return ReadOutcome::kMore;
}

ReadOutcome PythonReader::ReadEscape(std::string& value) {
  if (AtEnd()) return ReadOutcome::kMore;
  const char kind = Peek();
  ++position_;
  constexpr std::pair<char, char> kSimple[] = {{'n', '\n'},  {'t', '\t'}, {'r', '\r'},
                                               {'b', '\b'},  {'f', '\f'}, {'\\', '\\'},
                                               {'\'', '\''}, {'"', '"'},  {'/', '/'}};
  for (const auto& [name, meant] : kSimple) {
    if (kind != name) continue;
    value += meant;
    return ReadOutcome::kRead;
  }
  if (kind != 'x' && kind != 'u') {
    value += '\\';  // as Python does with what is no escape
    value += kind;
    return ReadOutcome::kRead;
  }
  const size_t digits = kind == 'x' ? 2 : 4;
  if (text_.size() - position_ < digits) return ReadOutcome::kMore;
  const char* const begin = text_.data() + position_;
  uint32_t code = 0;
  const auto parsed = std::from_chars(begin, begin + digits, code, 16);
  if (parsed.ptr != begin + digits) return ReadOutcome::kNothing;
  position_ += digits;
  // Half of a surrogate pair is no character.
  AppendUtf8(code >= 0xD800 && code <= 0xDFFF ? 0xFFFD : code, value);
  return ReadOutcome::kRead;
}

ReadOutcome PythonReader::ReadList(char close, int depth, Json& value) {
  value = Json::array();
  while (true) {
    if (const ReadOutcome end = Expect(close); end != ReadOutcome::kNothing) return end;
    Json item;
    TRI_READ(ReadValue(depth + 1, item));
    value.push_back(std::move(item));
    const ReadOutcome more = Expect(',');
    if (more == ReadOutcome::kMore) return more;
    if (more == ReadOutcome::kNothing) return Expect(close);
  }
}

ReadOutcome PythonReader::ReadDict(int depth, Json& value) {
  value = Json::object();
  while (true) {
    if (const ReadOutcome end = Expect('}'); end != ReadOutcome::kNothing) return end;
    SkipBlanks();
    if (AtEnd()) return ReadOutcome::kMore;
    if (Peek() != '\'' && Peek() != '"') return ReadOutcome::kNothing;
    std::string key;
    TRI_READ(ReadText(key));
    TRI_READ(Expect(':'));
    Json item;
    TRI_READ(ReadValue(depth + 1, item));
    value[key] = std::move(item);
    const ReadOutcome more = Expect(',');
    if (more == ReadOutcome::kMore) return more;
    if (more == ReadOutcome::kNothing) return Expect('}');
  }
}

ReadOutcome PythonReader::ReadWord(Json& value) {
  std::string word;
  TRI_READ(ReadName(word));
  if (word == "True" || word == "true") {
    value = true;
  } else if (word == "False" || word == "false") {
    value = false;
  } else if (word == "None" || word == "null") {
    value = nullptr;
  } else {
    return ReadOutcome::kNothing;
  }
  return ReadOutcome::kRead;
}

ReadOutcome PythonReader::ReadNumber(Json& value) {
  const size_t begin = position_;
  const auto is_part = [](char c) {
    return IsDigit(c) || c == '.' || c == '-' || c == '+' || c == 'e' || c == 'E';
  };
  while (!AtEnd() && is_part(Peek())) ++position_;
  if (position_ == begin) return ReadOutcome::kNothing;
  if (AtEnd()) return ReadOutcome::kMore;
  const char* const first = text_.data() + begin;
  const char* const last = text_.data() + position_;
  int64_t whole = 0;
  if (const auto parsed = std::from_chars(first, last, whole);
      parsed.ec == std::errc() && parsed.ptr == last) {
    value = whole;
    return ReadOutcome::kRead;
  }
  double number = 0;
  const auto parsed = std::from_chars(first, last, number);
  if (parsed.ec != std::errc() || parsed.ptr != last || !std::isfinite(number)) {
    return ReadOutcome::kNothing;
  }
  value = number;
  return ReadOutcome::kRead;
}

#undef TRI_READ

}  // namespace trireme
