#include "runtime/sampling/grammar/ebnf/regex_grammar.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/runtime/sampling/grammar/vocabularies.h"
#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

using testing::HasSubstr;

TEST(RegexGrammarTest, MatchesTheWholeText) {
  struct Case {
    const char* regex;
    std::vector<const char*> accepted;
    std::vector<const char*> rejected;
  };
  const std::vector<Case> cases = {
      {"a|bc", {"a", "bc"}, {"", "b", "abc"}},
      {"^(?:ab)+$", {"ab", "abab"}, {"", "aba"}},
      {"(a|b)*c?", {"", "abba", "c", "bc"}, {"cc"}},
      {"[^a-c]{2}", {"de", "é€", "\"\\"}, {"ad", "d", "def"}},
      {"\\d{2,3}-\\w\\s", {"12-x ", "123-_\t"}, {"1-x ", "12-é "}},
      {"\\W\\D", {"-x"}, {"a1", "éx"}},
      {"a{0}b{2,}", {"bb", "bbbb"}, {"abb", "b"}},
      {".\\.", {"x.", "é."}, {"\n.", "xx"}},
      {"\\x41\\u00e9\\[\\]\\\\", {"Aé[]\\"}, {"Ae[]\\"}},
      {"(?<year>\\d+)?x", {"x", "12x"}, {"12"}},
      {"(|a)b", {"b", "ab"}, {"a"}},
      {"(ab+)?", {"", "ab", "abb"}, {"b", "a"}},
      {"(a*b)*", {"", "b", "aab", "bab"}, {"a", "ba"}},
      {"a*|ab", {"", "aa", "ab"}, {"aab", "b"}},
      {"[\\n\\-\\]\"]", {"\n", "-", "]", "\""}, {"n"}},
  };
  const auto compiler = MakeCompiler(ByteVocabulary());
  for (const Case& c : cases) {
    SCOPED_TRACE(c.regex);
    const auto grammar = compiler->Compile(RegexSpec(c.regex));
    ASSERT_OK(grammar);
    for (const char* text : c.accepted) EXPECT_TRUE(Matches(*grammar, text)) << text;
    for (const char* text : c.rejected) EXPECT_FALSE(Matches(*grammar, text)) << text;
  }
}

TEST(RegexGrammarTest, RefusesWhatItDoesNotCover) {
  const std::vector<std::pair<std::string, const char*>> refused = {
      {"(?=a)b", "look-around"},
      {"(?i)a", "look-around"},
      {"a\\1", "escape"},
      {"\\bword", "escape"},
      {"\\p{L}", "escape"},
      {"a$b", "'^' may only"},
      {"a^b", "'^' may only"},
      {"(a", "'('"},
      {"a)", "')'"},
      {"[a", "'['"},
      {"[]", "class without"},
      {"[z-a]", "range"},
      {"*a", "nothing to repeat"},
      {"a**", "repetition of"},
      {"a{2,1}", "before its start"},
      {"a{129}", "at most 128"},
      {"a{,3}", "count"},
      {"a\\", "at the end"},
      {std::string(40, '(') + std::string(40, ')'), "deeper"},
      {"((((a{100}){100}){100}){100}){100}", "too large"},
  };
  for (const auto& [regex, what] : refused) {
    EXPECT_THAT(RegexToEbnf(regex, RegexUse::kWholeText),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(what)))
        << regex;
  }
}

}  // namespace
}  // namespace trireme
