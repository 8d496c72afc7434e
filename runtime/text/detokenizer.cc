#include "runtime/text/detokenizer.h"

#include <algorithm>
#include <cstddef>

namespace trireme {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

// What the bytes at the start of a text are.
struct Prefix {
  enum class Kind { kWhole, kIncomplete, kInvalid };
  Kind kind = Kind::kInvalid;
  size_t bytes = 1;  // of the code point, of its beginning, or of what one U+FFFD replaces
};

struct Range {
  uint8_t low = 0x80;
  uint8_t high = 0xBF;
};

// The second byte's range shuts out overlong forms, surrogates and values past U+10FFFF (Unicode,
// table 3-7).
Range SecondByte(uint8_t lead) {
  switch (lead) {
    case 0xE0:
      return {0xA0, 0xBF};
    case 0xED:
      return {0x80, 0x9F};
    case 0xF0:
      return {0x90, 0xBF};
    case 0xF4:
      return {0x80, 0x8F};
    default:
      return {};
  }
}

// text is not empty. An invalid sequence is the longest run that could have begun a code point, or
// one byte: Unicode's "maximal subpart" rule, which Python follows.
Prefix FirstCodePoint(std::string_view text) {
  const auto lead = static_cast<uint8_t>(text[0]);
  if (lead < 0x80) return {Prefix::Kind::kWhole, 1};
  if (lead < 0xC2 || lead > 0xF4) return {Prefix::Kind::kInvalid, 1};
  const size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  for (size_t i = 1; i < length; ++i) {
    if (i == text.size()) return {Prefix::Kind::kIncomplete, i};
    const Range range = i == 1 ? SecondByte(lead) : Range{};
    const auto byte = static_cast<uint8_t>(text[i]);
    if (byte < range.low || byte > range.high) return {Prefix::Kind::kInvalid, i};
  }
  return {Prefix::Kind::kWhole, length};
}

// The first two bytes of a surrogate (U+D800 to U+DFFF) can only become invalid, but Python's
// incremental decoder, by which streaming is defined, waits for the third before it replaces them.
bool IsHalfSurrogate(std::string_view text) {
  return text.size() == 2 && text[0] == '\xED' && (static_cast<uint8_t>(text[1]) & 0xC0) == 0x80;
}

}  // namespace

bool IsValidUtf8(std::string_view text) {
  while (!text.empty()) {
    const Prefix prefix = FirstCodePoint(text);
    if (prefix.kind != Prefix::Kind::kWhole) return false;
    text.remove_prefix(prefix.bytes);
  }
  return true;
}

void AppendValidUtf8(std::string_view bytes, bool final, std::string& pending, std::string& out) {
  std::string joined;
  if (!pending.empty()) {
    joined = std::move(pending);
    joined += bytes;
    bytes = joined;
  }
  pending.clear();
  while (!bytes.empty()) {
    const Prefix prefix = FirstCodePoint(bytes);
    if (prefix.kind == Prefix::Kind::kWhole) {
      out += bytes.substr(0, prefix.bytes);
    } else if (final || (prefix.kind == Prefix::Kind::kInvalid && !IsHalfSurrogate(bytes))) {
      out += kReplacement;
    } else {
      pending = bytes;
      return;
    }
    bytes.remove_prefix(prefix.bytes);
  }
}

std::string Detokenizer::Push(int32_t id) {
  std::string out;
  if (!keep_special_ && tokenizer_.IsSpecial(id)) return out;
  AppendValidUtf8(tokenizer_.TokenBytes(id), false, pending_, out);
  return out;
}

std::string Detokenizer::Flush() {
  std::string out;
  AppendValidUtf8({}, true, pending_, out);
  return out;
}

}  // namespace trireme
