// Unicode characters: read from UTF-8, written into EBNF (the notation of grammars that xgrammar
// reads), and sets of them as sorted, disjoint ranges. Surrogates are in no set, because UTF-8 text
// cannot hold them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace trireme {

class CodePointSet {
 public:
  static constexpr uint32_t kLast = 0x10FFFF;

  CodePointSet() = default;
  // Ranges with both ends in it.
  explicit CodePointSet(std::vector<std::pair<uint32_t, uint32_t>> ranges);

  void Add(const CodePointSet& other);
  CodePointSet Complement() const;
  CodePointSet Intersection(const CodePointSet& other) const;
  bool Contains(uint32_t code_point) const;
  bool empty() const { return ranges_.empty(); }

  // The one member, or -1 when there are none or several.
  int64_t Single() const;

  // About what a state that takes these characters costs to compile: the more of them, the more of
  // the vocabulary is walked. 1 for a digit's sake, about 100 for any character.
  int64_t Cost() const;

  // "[a-zé]" in a regular expression; the set must not be empty.
  std::string RegexClass() const;

 private:
  void Normalize();

  std::vector<std::pair<uint32_t, uint32_t>> ranges_;
};

// A character as it stands in a regular expression, in a class or outside.
std::string RegexCharacter(uint32_t code_point);

// `text` (valid UTF-8) as an EBNF string literal.
std::string EbnfLiteral(std::string_view text);

constexpr uint32_t kBadUtf8 = 0xFFFFFFFF;

// The character at byte `at`, which moves behind it; kBadUtf8 (and one byte on) where none is:
// overlong forms, surrogates, values past U+10FFFF and cut sequences.
inline uint32_t NextCodePoint(std::string_view text, size_t& at) {
  const auto lead = static_cast<unsigned char>(text[at++]);
  if (lead < 0x80) return lead;
  const int more = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : 1;
  if (lead < 0xC2 || lead > 0xF4 || text.size() - at < static_cast<size_t>(more)) return kBadUtf8;
  uint32_t value = lead & (0x3FU >> more);
  for (int i = 0; i < more; ++i) {
    const auto byte = static_cast<unsigned char>(text[at + static_cast<size_t>(i)]);
    if ((byte & 0xC0) != 0x80) return kBadUtf8;
    value = (value << 6) | (byte & 0x3FU);
  }
  constexpr uint32_t kSmallest[] = {0x80, 0x800, 0x10000};
  if (value < kSmallest[more - 1] || value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF)) {
    return kBadUtf8;
  }
  at += static_cast<size_t>(more);
  return value;
}

inline bool IsUtf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    if (NextCodePoint(text, at) == kBadUtf8) return false;
  }
  return true;
}

}  // namespace trireme
