#include "runtime/text/stop_strings.h"

#include <gtest/gtest.h>

#include <random>

namespace trireme {
namespace {

TEST(StopStrings, WithoutAnyEverythingPassesAtOnce) {
  StopStrings stops({});
  EXPECT_EQ(stops.Push("a"), "a");
  EXPECT_EQ(stops.Push("bc"), "bc");
  EXPECT_EQ(stops.Flush(), "");
  EXPECT_FALSE(stops.matched());
}

TEST(StopStrings, EndsBeforeAStopStringThatCameInPieces) {
  StopStrings stops({"END"});
  EXPECT_EQ(stops.Push("text E"), "text ");
  EXPECT_EQ(stops.Push("N"), "");
  EXPECT_EQ(stops.Push("D more"), "");
  EXPECT_TRUE(stops.matched());
  EXPECT_EQ(stops.Push("after"), "");
  EXPECT_EQ(stops.Flush(), "");
}

TEST(StopStrings, GivesBackWhatOnlyLookedLikeOne) {
  StopStrings stops({"END"});
  EXPECT_EQ(stops.Push("EN"), "");
  EXPECT_EQ(stops.Push("EN"), "EN");
  EXPECT_EQ(stops.Flush(), "EN");
  EXPECT_FALSE(stops.matched());
}

TEST(StopStrings, OfSeveralTheFirstToEndWinsAndThenTheLongest) {
  StopStrings first_to_end({"abcd", "bc"});
  EXPECT_EQ(first_to_end.Push("xabcd"), "xa");
  StopStrings longest({"c", "abc"});
  EXPECT_EQ(longest.Push("xabc"), "x");
}

TEST(StopStrings, NeverCutsACodePoint) {
  StopStrings stops({"\u00e9t\u00e9"});
  EXPECT_EQ(stops.Push("un \u00e9"), "un ");
  EXPECT_EQ(stops.Push("\u00e9t"), "\u00e9");
  EXPECT_EQ(stops.Push("\u00e9."), "");
  EXPECT_TRUE(stops.matched());
}

// The definition, byte by byte: where the text first ends with one of the stops.
std::string CutByDefinition(const std::string& text, const std::vector<std::string>& stops) {
  for (size_t end = 1; end <= text.size(); ++end) {
    size_t longest = 0;
    for (const std::string& stop : stops) {
      if (stop.size() <= end && text.compare(end - stop.size(), stop.size(), stop) == 0) {
        longest = std::max(longest, stop.size());
      }
    }
    if (longest > 0) return text.substr(0, end - longest);
  }
  return text;
}

TEST(StopStrings, HoweverTheTextIsCutTheAnswerIsTheSame) {
  std::mt19937 random(5);
  const auto letters = [&random](size_t size) {
    std::string text(size, ' ');
    for (char& letter : text) letter = static_cast<char>('a' + random() % 2);
    return text;
  };
  for (int round = 0; round < 2000; ++round) {
    std::vector<std::string> stops;
    for (unsigned i = 0; i <= random() % 3; ++i) stops.push_back(letters(1 + random() % 6));
    const std::string text = letters(random() % 30);
    StopStrings pushed(stops);
    std::string shown;
    for (size_t at = 0; at < text.size();) {
      const size_t piece = 1 + random() % 4;
      shown += pushed.Push(text.substr(at, piece));
      at += piece;
    }
    const std::string expected = CutByDefinition(text, stops);
    EXPECT_EQ(pushed.matched(), expected.size() < text.size()) << text;
    EXPECT_EQ(shown + pushed.Flush(), expected) << text;
  }
}

}  // namespace
}  // namespace trireme
