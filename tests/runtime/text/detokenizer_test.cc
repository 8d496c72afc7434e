#include "runtime/text/detokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace trireme {
namespace {

std::string Replaced(std::string_view bytes) {
  std::string pending;
  std::string out;
  AppendValidUtf8(bytes, true, pending, out);
  return out;
}

// Printed by Python: bytes.decode("utf-8", errors="replace"), with "?" for U+FFFD.
TEST(Utf8, ReplacesInvalidBytesAsPython) {
  const std::pair<std::string_view, std::string_view> cases[] = {
      {"a\xFFz", "a?z"},
      {"\xC0\x80", "??"},            // overlong
      {"\xE0\x80\x80", "???"},       // overlong
      {"\xE2\x82", "?"},             // cut short
      {"\xE2\x82z", "?z"},           // cut short by another
      {"\xED\xA0\x80", "???"},       // a surrogate
      {"\xED\xA0", "??"},            // half of one
      {"\xF0\x9F\x98", "?"},         // three of four
      {"\xF4\x90\x80\x80", "????"},  // past U+10FFFF
      {"\xF0\x9F\x98\xF0\x9F\x98\x80", "?\xF0\x9F\x98\x80"},
      {"\x80\xBF", "??"},
      {"\xF5", "?"},
  };
  for (const auto& [bytes, expected] : cases) {
    std::string text = Replaced(bytes);
    for (size_t at; (at = text.find("\xEF\xBF\xBD")) != std::string::npos;)
      text.replace(at, 3, "?");
    EXPECT_EQ(text, expected) << testing::PrintToString(bytes);
    EXPECT_FALSE(IsValidUtf8(bytes));
  }
  EXPECT_TRUE(IsValidUtf8("a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\xED\x9F\xBF\xF4\x8F\xBF\xBF"));
}

TEST(Utf8, ChunksJoinToTheWholeWhateverTheCuts) {
  for (uint32_t seed = 0; seed < 3000; ++seed) {
    std::mt19937 random(seed);
    constexpr std::string_view kBytes =
        "aZ\x80\xBF\xA0\x9F\x90\xC3\xA9\xE0\xE2\xED\xF0\xF4\xFF\xC0";
    std::string bytes;
    for (size_t n = random() % 24; n > 0; --n) bytes += kBytes[random() % kBytes.size()];
    std::string pending;
    std::string joined;
    for (size_t at = 0; at < bytes.size();) {
      const size_t size = std::min<size_t>(1 + random() % 4, bytes.size() - at);
      std::string chunk;
      AppendValidUtf8(std::string_view(bytes).substr(at, size), false, pending, chunk);
      EXPECT_TRUE(IsValidUtf8(chunk)) << "seed " << seed;
      EXPECT_LE(pending.size(), 3U);
      joined += chunk;
      at += size;
    }
    AppendValidUtf8({}, true, pending, joined);
    EXPECT_EQ(joined, Replaced(bytes)) << "seed " << seed;
    EXPECT_TRUE(pending.empty());
  }
}

}  // namespace
}  // namespace trireme
