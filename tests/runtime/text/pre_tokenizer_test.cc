#include "runtime/text/bpe/pre_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> Split(const std::vector<std::string>& patterns, std::string_view text) {
  const auto pre_tokenizer = PreTokenizer::Compile(patterns);
  EXPECT_OK(pre_tokenizer);
  std::vector<std::string> pieces;
  EXPECT_OK(
      pre_tokenizer->Split(text, [&](std::string_view piece) { pieces.emplace_back(piece); }));
  return pieces;
}

TEST(PreTokenizer, KeepsWhatLiesBetweenMatches) {
  EXPECT_THAT(Split({"[0-9]+"}, "ab12cd3"), ElementsAre("ab", "12", "cd", "3"));
  EXPECT_THAT(Split({}, "ab 12"), ElementsAre("ab 12"));
  EXPECT_THAT(Split({"x"}, ""), ElementsAre());
}

TEST(PreTokenizer, StepsCutThePiecesOfTheStepBefore) {
  // Alone, the GPT-2 pattern leaves the last space to the word that follows.
  EXPECT_THAT(Split({std::string(kGpt2Pattern)}, "  12"), ElementsAre(" ", " 12"));
  EXPECT_THAT(Split({std::string(kSingleDigitPattern), std::string(kGpt2Pattern)}, "  12"),
              ElementsAre("  ", "1", "2"));
}

TEST(PreTokenizer, MatchesOfNothingCutNothing) {
  EXPECT_THAT(Split({"z*"}, "a\xC3\xA9zzb"), ElementsAre("a\xC3\xA9", "zz", "b"));
}

TEST(PreTokenizer, WhiteSpaceIsUnicodesAndNothingElse) {
  // U+180E is white space to PCRE2 alone; U+0085 and U+3000 are to everyone.
  EXPECT_THAT(Split({R"(\s+)"},
                    "a\xE1\xA0\x8E\xC2\x85\xE3\x80\x80"
                    "b"),
              ElementsAre("a\xE1\xA0\x8E", "\xC2\x85\xE3\x80\x80", "b"));
  EXPECT_THAT(Split({R"([^\s]+)"}, "a b"), ElementsAre("a", " ", "b"));
  EXPECT_THAT(Split({R"(\S+)"}, "a b"), ElementsAre("a", " ", "b"));
}

TEST(PreTokenizer, QuotesAPatternThatDoesNotCompile) {
  EXPECT_THAT(PreTokenizer::Compile({"a(b"}).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("\"a(b\" does not compile")));
  EXPECT_THAT(PreTokenizer::Compile({R"([\S])"}).status(),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("\\S in a character class")));
  EXPECT_THAT(PreTokenizer::Compile({"[a[b]]"}).status(),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("nests a character class")));
  EXPECT_THAT(PreTokenizer::Compile(std::vector<std::string>(17, "a")).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("17 steps")));
}

absl::Status SplitStatus(const std::string& pattern, std::string_view text) {
  const auto pre_tokenizer = PreTokenizer::Compile({pattern});
  EXPECT_OK(pre_tokenizer);
  return pre_tokenizer->Split(text, [](std::string_view) {});
}

TEST(PreTokenizer, EndsAPatternThatBacktracksWithoutBound) {
  EXPECT_THAT(SplitStatus("(a+)+$", std::string(5000, 'a') + "b"),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("gave up at byte 0")));
  // Each attempt is cheap, all together are quadratic.
  EXPECT_THAT(SplitStatus("a*c|.", std::string(1 << 18, 'a')),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("gave up at byte")));
}

TEST(PreTokenizer, SurvivesAPatternThatNeedsADeepStack) {
  // Either outcome will do; overflowing the thread's stack will not.
  const absl::Status status = SplitStatus("(?:a|(b))*", std::string(1 << 20, 'a'));
  EXPECT_TRUE(status.ok() || absl::IsResourceExhausted(status)) << status;
}

TEST(PreTokenizer, RunsAnUnknownPatternThatIsHarmless) {
  // GPT-2's with a group around it, so that it is not the known text.
  const std::string pattern = "(?:" + std::string(kGpt2Pattern) + ")";
  std::string prose;
  while (prose.size() < (1U << 18)) prose += "It's 12 o'clock, and   all's w\xC3\xA9ll!\n\n";
  for (const std::string& text : {prose, std::string(1 << 18, ' '), std::string(1 << 18, 'x')}) {
    EXPECT_EQ(Split({pattern}, text), Split({std::string(kGpt2Pattern)}, text));
  }
}

}  // namespace
}  // namespace trireme
