#include "runtime/sampling/grammar/grammar_compiler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "absl/strings/str_format.h"
#include "runtime/sampling/grammar/ebnf/regex_grammar.h"
#include "tests/runtime/sampling/grammar/vocabularies.h"
#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

using testing::HasSubstr;

TEST(GrammarCompilerTest, RefusesVocabulariesThatCannotEnd) {
  GrammarVocabulary vocabulary = ByteVocabulary();
  vocabulary.stop_tokens.clear();
  EXPECT_THAT(GrammarCompiler::Create(vocabulary, {}).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no stop token")));
  vocabulary.stop_tokens = {vocabulary.vocab_size};
  EXPECT_THAT(GrammarCompiler::Create(vocabulary, {}).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("outside")));
  vocabulary = ByteVocabulary();
  vocabulary.vocab_size = 3;
  EXPECT_THAT(GrammarCompiler::Create(vocabulary, {}).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("at least")));
}

TEST(GrammarCompilerTest, CompilesOnceAndForgetsTheLeastRecentlyUsed) {
  const GrammarSpec a = RegexSpec("a+");
  const GrammarSpec b = RegexSpec("b+");
  size_t one = 0;
  {
    const auto compiler = MakeCompiler(ByteVocabulary());
    const auto first = compiler->Compile(a);
    ASSERT_OK(first);
    EXPECT_EQ(*compiler->Compile(a), *first);
    one = (*first)->memory_bytes();
    EXPECT_EQ(compiler->cached_bytes(), one);
  }
  auto compiler = GrammarCompiler::Create(ByteVocabulary(), {.cache_bytes = one + one / 2});
  ASSERT_OK(compiler);
  const auto first = (*compiler)->Compile(a);
  ASSERT_OK((*compiler)->Compile(b));
  EXPECT_LE((*compiler)->cached_bytes(), one + one / 2);
  EXPECT_NE(*(*compiler)->Compile(a), *first);
}

TEST(GrammarCompilerTest, ThreadsThatWantTheSameShareIt) {
  const auto compiler = MakeCompiler(ByteVocabulary());
  std::vector<std::shared_ptr<const CompiledGrammar>> got(4);
  {
    std::vector<std::jthread> threads;
    for (auto& grammar : got) {
      threads.emplace_back([&compiler, &grammar] {
        grammar = *compiler->Compile({GrammarSpec::Kind::kJsonObject, "", {}});
        GrammarState state(grammar);
        EXPECT_TRUE(state.Accept('{'));
      });
    }
  }
  for (const auto& grammar : got) EXPECT_EQ(grammar, got[0]);
}

TEST(GrammarCompilerTest, RefusesWhatIsNoSpecification) {
  const auto compiler = MakeCompiler(ByteVocabulary());
  const auto refused = [&compiler](const GrammarSpec& spec, const char* what) {
    EXPECT_THAT(compiler->Compile(spec),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(what)));
  };
  refused({}, "none");
  refused({GrammarSpec::Kind::kChoice, "", {}}, "1 to 1024");
  refused({GrammarSpec::Kind::kChoice, "", {"a", ""}}, "choice 1");
  refused({GrammarSpec::Kind::kChoice, "", {"\xff"}}, "UTF-8");
  refused({GrammarSpec::Kind::kChoice, "", std::vector<std::string>(2000, "a")}, "1024");
  refused({GrammarSpec::Kind::kChoice, "", {std::string(50000, 'a')}}, "40000");
  refused(RegexSpec(std::string(70000, 'a')), "65536");
  refused(SchemaSpec(std::string(70000, ' ')), "65536");
}

// Each is refused or compiled at once; ctest's time limit is what would fail.
TEST(GrammarCompilerTest, HostileSpecificationsAreBounded) {
  const auto compiler = MakeCompiler(ByteVocabulary());
  const auto nested = [](const std::string& open, const std::string& close, int times) {
    std::string text;
    for (int i = 0; i < times; ++i) text += open;
    text += "{}";
    for (int i = 0; i < times; ++i) text += close;
    return text;
  };
  std::string huge_enum = R"({"enum":["a")";
  std::string wide = R"({"type":"object","properties":{)";
  std::string definitions = R"({"$ref":"#/$defs/d0","$defs":{)";
  for (int i = 0; i < 1500; ++i) huge_enum += absl::StrFormat(",\"value %d of many\"", i);
  for (int i = 0; i < 1000; ++i) wide += absl::StrFormat("\"p%d\":{\"type\":\"integer\"},", i);
  for (int i = 0; i < 30; ++i) {
    definitions += absl::StrFormat(
        R"("d%d":{"anyOf":[{"$ref":"#/$defs/d%d"},{"$ref":"#/$defs/d%d"}]},)", i, i + 1, i + 1);
  }
  wide += R"("z":{}}})";
  definitions += R"("d30":{"type":"null"}}})";
  const std::vector<GrammarSpec> specs = {
      SchemaSpec(nested(R"({"type":"array","items":)", "}", 2000)),
      SchemaSpec(nested(R"({"type":"array","items":)", "}", 30)),
      SchemaSpec(nested("[", "]", 10000)),
      SchemaSpec(R"({"type":"array","items":{},"minItems":128,"maxItems":128})"),
      SchemaSpec(nested(R"({"type":"array","maxItems":128,"minItems":128,"items":)", "}", 25)),
      SchemaSpec(huge_enum + "]}"),
      SchemaSpec(wide),
      SchemaSpec(definitions),
      RegexSpec("(a|b)*a(a|b){100}"),
      RegexSpec("(a*)*b"),
      RegexSpec("((a|a)*(a|a)*)*b"),
      RegexSpec("(((((a?){9}){9}){9}){9}){9}"),
      RegexSpec("(.{0,100}){0,100}"),
      RegexSpec(std::string(30, '(') + std::string(30, ')')),
  };
  for (const GrammarSpec& spec : specs) {
    const auto grammar = compiler->Compile(spec);
    if (!grammar.ok()) {
      EXPECT_THAT(grammar, StatusIs(absl::StatusCode::kInvalidArgument, testing::_));
      continue;
    }
    EXPECT_LT((*grammar)->memory_bytes(), size_t{64} << 20);
    GrammarState state(*grammar);
    std::vector<uint32_t> mask(GrammarMaskWords((*grammar)->vocab_size()));
    for (int i = 0; i < 50 && state.Accept(i % 2 == 0 ? 'a' : 'b'); ++i) state.Mask(mask);
  }
}

}  // namespace
}  // namespace trireme
