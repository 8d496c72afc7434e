#include "runtime/text/bpe/byte_level.h"

#include <array>
#include <cstdint>

#include "absl/strings/str_format.h"

namespace trireme {
namespace {

constexpr bool StandsForItself(int byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

// Byte by code point, -1 for none. The highest code point is U+0100 + 67.
constexpr std::array<int16_t, 0x144> kByteOf = [] {
  std::array<int16_t, 0x144> table{};
  table.fill(-1);
  int16_t others = 0;
  for (int16_t byte = 0; byte < 256; ++byte) {
    table[StandsForItself(byte) ? byte : 0x100 + others++] = byte;
  }
  return table;
}();

}  // namespace

std::optional<std::string> ByteLevelToBytes(std::string_view text) {
  std::string bytes;
  bytes.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    uint32_t code_point = static_cast<uint8_t>(text[i]);
    if (code_point >= 0x80) {  // all others have two bytes in UTF-8: U+0080 to U+07FF
      if (code_point < 0xC2 || code_point > 0xDF || i + 1 == text.size()) return std::nullopt;
      const auto low = static_cast<uint8_t>(text[++i]);
      if ((low & 0xC0) != 0x80) return std::nullopt;
      code_point = (code_point & 0x1F) << 6 | (low & 0x3F);
    }
    if (code_point >= kByteOf.size() || kByteOf[code_point] < 0) return std::nullopt;
    bytes += static_cast<char>(kByteOf[code_point]);
  }
  return bytes;
}

absl::Status AppendMerge(const WrittenTokens& written, std::string_view left,
                         std::string_view right, BpeVocabulary& vocabulary) {
  const std::string joined = std::string(left) + std::string(right);
  const auto left_token = written.find(left);
  const auto right_token = written.find(right);
  const auto merged = written.find(joined);
  if (left_token == written.end() || right_token == written.end() || merged == written.end()) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s: merge %d joins \"%s\" and \"%s\" to \"%s\"; expected all three in the vocabulary",
        vocabulary.source, vocabulary.merges.size(), std::string(left), std::string(right),
        joined));
  }
  vocabulary.merges.push_back({left_token->second, right_token->second, merged->second});
  return absl::OkStatus();
}

absl::Status AppendMerge(const WrittenTokens& written, std::string_view both,
                         BpeVocabulary& vocabulary) {
  const size_t space = both.find(' ');
  if (space == std::string_view::npos || both.find(' ', space + 1) != std::string_view::npos) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: merge %d is \"%s\"; expected two tokens and one space between them",
                        vocabulary.source, vocabulary.merges.size(), std::string(both)));
  }
  return AppendMerge(written, both.substr(0, space), both.substr(space + 1), vocabulary);
}

}  // namespace trireme
