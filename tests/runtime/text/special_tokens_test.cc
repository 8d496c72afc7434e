#include "runtime/text/bpe/special_tokens.h"

#include <gtest/gtest.h>

#include <random>

namespace trireme {
namespace {

TEST(SpecialTokenScanner, TakesTheEarliestThenTheLongest) {
  const SpecialTokenScanner scanner({{"<a>", 1}, {"<a>b", 2}, {"a>bc", 3}, {"x", 4}});
  const auto match = scanner.Find("--<a>bcx", 0);
  ASSERT_TRUE(match);
  EXPECT_EQ(match->id, 2);
  EXPECT_EQ(match->begin, 2U);
  EXPECT_EQ(match->end, 6U);
  EXPECT_EQ(scanner.Find("--<a>bcx", 6)->id, 4);
  EXPECT_FALSE(scanner.Find("<a <b>", 0));
  EXPECT_FALSE(scanner.Find("<a", 0));
  EXPECT_EQ(scanner.Id("<a>"), 1);
  EXPECT_FALSE(scanner.Id("<a"));
  EXPECT_FALSE(SpecialTokenScanner({}).Find("anything", 0));
}

TEST(SpecialTokenScanner, FindsWhatComparingEveryTokenFinds) {
  for (uint32_t seed = 0; seed < 200; ++seed) {
    std::mt19937 random(seed);
    const auto word = [&](size_t longest) {
      std::string text;
      for (size_t n = 1 + random() % longest; n > 0; --n) text += "ab\xFF"[random() % 3];
      return text;
    };
    std::vector<std::pair<std::string, int32_t>> tokens;
    for (int32_t id = 0; id < 6; ++id) {
      const std::string text = word(4);
      const auto same = [&](const auto& token) { return token.first == text; };
      if (std::none_of(tokens.begin(), tokens.end(), same)) tokens.emplace_back(text, id);
    }
    const SpecialTokenScanner scanner(tokens);
    const std::string text = word(30);
    for (size_t from = 0; from <= text.size(); ++from) {
      std::optional<SpecialMatch> expected;
      for (size_t begin = from; begin < text.size() && !expected; ++begin) {
        for (const auto& [token, id] : tokens) {
          if (text.compare(begin, token.size(), token) != 0) continue;
          if (!expected || begin + token.size() > expected->end) {
            expected = SpecialMatch{begin, begin + token.size(), id};
          }
        }
      }
      const auto found = scanner.Find(text, from);
      ASSERT_EQ(found.has_value(), expected.has_value()) << "seed " << seed;
      if (!expected) continue;
      EXPECT_EQ(found->begin, expected->begin) << "seed " << seed;
      EXPECT_EQ(found->id, expected->id) << "seed " << seed;
    }
  }
}

}  // namespace
}  // namespace trireme
