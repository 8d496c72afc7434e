#include "runtime/sampling/grammar/grammar_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <random>

#include "nlohmann/json.hpp"
#include "tests/runtime/sampling/grammar/vocabularies.h"
#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

std::vector<uint32_t> MaskOf(GrammarState& state, int32_t vocab_size) {
  std::vector<uint32_t> mask(GrammarMaskWords(vocab_size));
  state.Mask(mask);
  return mask;
}

std::vector<int32_t> Allowed(const std::vector<uint32_t>& mask) {
  std::vector<int32_t> tokens;
  for (size_t token = 0; token < mask.size() * 32; ++token) {
    if ((mask[token / 32] >> (token % 32) & 1U) != 0) tokens.push_back(static_cast<int32_t>(token));
  }
  return tokens;
}

std::shared_ptr<const CompiledGrammar> Compile(GrammarCompiler& compiler, const GrammarSpec& spec) {
  auto grammar = compiler.Compile(spec);
  EXPECT_OK(grammar);
  return *grammar;
}

const std::vector<GrammarSpec>& Specs() {
  static const std::vector<GrammarSpec> specs = {
      {GrammarSpec::Kind::kJsonObject, "", {}},
      SchemaSpec(R"({"type":"object","properties":{"name":{"type":"string","maxLength":12},)"
                 R"("age":{"type":"integer","minimum":0,"maximum":130}},"required":["name"]})"),
      SchemaSpec(R"({"type":"array","items":{"enum":["é","😀",12,-1,true]},"maxItems":4})"),
      SchemaSpec(R"({"type":"string","pattern":"^[A-Z][a-z€]{1,9}\"?$"})"),
      RegexSpec("(?:a€|é{2,3}|-1)*12?"),
      {GrammarSpec::Kind::kChoice, "", {"true", "a€", "a", "12"}},
  };
  return specs;
}

TEST(GrammarStateTest, MasksExactlyTheTokensThatItAccepts) {
  const auto compiler = MakeCompiler(ByteVocabulary());
  std::mt19937 random(1);
  for (const GrammarSpec& spec : Specs()) {
    GrammarState state(Compile(*compiler, spec));
    const int32_t vocab_size = ByteVocabulary().vocab_size;
    for (int step = 0; step < 60 && !state.finished(); ++step) {
      const auto mask = MaskOf(state, vocab_size);
      for (int32_t token = -1; token <= vocab_size; ++token) {
        GrammarState probe = state.Clone();
        const bool masked = token >= 0 && token < vocab_size &&
                            (mask[static_cast<size_t>(token) / 32] >> (token % 32) & 1U) != 0;
        ASSERT_EQ(probe.Accept(token), masked) << "token " << token << " at step " << step;
      }
      EXPECT_EQ(state.may_stop(), (mask[kByteStop / 32] >> (kByteStop % 32) & 1U) != 0);
      const auto allowed = Allowed(mask);
      ASSERT_FALSE(allowed.empty());
      ASSERT_TRUE(state.Accept(allowed[random() % allowed.size()]));
    }
  }
}

TEST(GrammarStateTest, RollbackCloneAndReplayAgree) {
  const auto compiler = MakeCompiler(ByteVocabulary());
  const int32_t vocab_size = ByteVocabulary().vocab_size;
  std::mt19937 random(2);
  for (const GrammarSpec& spec : Specs()) {
    const auto grammar = Compile(*compiler, spec);
    GrammarState state(grammar);
    std::vector<int32_t> tokens;
    std::vector<std::vector<uint32_t>> masks;  // before each token
    while (!state.finished() && tokens.size() < 80) {
      masks.push_back(MaskOf(state, vocab_size));
      const auto allowed = Allowed(masks.back());
      tokens.push_back(allowed[random() % allowed.size()]);
      ASSERT_TRUE(state.Accept(tokens.back()));
    }
    const auto last = MaskOf(state, vocab_size);
    const auto count = static_cast<int64_t>(tokens.size());
    ASSERT_EQ(state.accepted(), count);
    GrammarState replayed(grammar);
    for (size_t i = 0; i < tokens.size(); ++i) {
      ASSERT_EQ(MaskOf(replayed, vocab_size), masks[i]);
      ASSERT_TRUE(replayed.Accept(tokens[i]));
    }
    EXPECT_EQ(MaskOf(replayed, vocab_size), last);
    GrammarState copy = state.Clone();
    for (int64_t back : {int64_t{1}, count / 2, count}) {
      GrammarState rolled = state.Clone();
      rolled.Rollback(back);
      EXPECT_EQ(rolled.accepted(), count - back);
      EXPECT_EQ(MaskOf(rolled, vocab_size), masks[static_cast<size_t>(count - back)]);
      for (int64_t i = count - back; i < count; ++i) {
        ASSERT_TRUE(rolled.Accept(tokens[static_cast<size_t>(i)]));
      }
      EXPECT_EQ(MaskOf(rolled, vocab_size), last);
    }
    EXPECT_EQ(MaskOf(copy, vocab_size), last);
  }
}

TEST(GrammarStateTest, AllowsOnlyStopTokensWhereNothingElseMayFollow) {
  const auto compiler = MakeCompiler(ByteVocabulary());
  GrammarState state(Compile(*compiler, {GrammarSpec::Kind::kChoice, "", {"ab", "a"}}));
  EXPECT_FALSE(state.may_stop());
  EXPECT_FALSE(state.Accept(kByteStop));
  EXPECT_FALSE(state.Accept(kByteSpecial));
  ASSERT_TRUE(state.Accept('a'));
  const int32_t vocab_size = ByteVocabulary().vocab_size;
  EXPECT_THAT(Allowed(MaskOf(state, vocab_size)), testing::ElementsAre('b', kByteStop));
  ASSERT_TRUE(state.Accept('b'));
  EXPECT_THAT(Allowed(MaskOf(state, vocab_size)), testing::ElementsAre(kByteStop));
  ASSERT_TRUE(state.Accept(kByteStop));
  EXPECT_TRUE(state.finished());
  EXPECT_THAT(Allowed(MaskOf(state, vocab_size)), testing::ElementsAre(kByteStop));
  EXPECT_FALSE(state.Accept(kByteStop));
  state.Rollback(1);
  EXPECT_FALSE(state.finished());
}

TEST(GrammarStateTest, FollowsCharactersThatTokensCut) {
  const auto compiler = MakeCompiler(ByteVocabulary());
  // "a€\"" as the tokens "a\xE2\x82" and "\xAC\"".
  GrammarState state(Compile(*compiler, SchemaSpec(R"({"type":"string","maxLength":2})")));
  ASSERT_TRUE(state.Accept('"'));
  const auto& bytes = ByteVocabulary().token_bytes;
  const auto id = [&bytes](const std::string& text) {
    return static_cast<int32_t>(std::find(bytes.begin(), bytes.end(), text) - bytes.begin());
  };
  ASSERT_TRUE(state.Accept(id("a\xE2\x82")));
  EXPECT_FALSE(state.Accept('"'));
  ASSERT_TRUE(state.Accept(id("\xAC\"")));
  EXPECT_TRUE(state.may_stop());
}

// 200 texts of random allowed tokens of a real vocabulary are JSON, and UTF-8.
TEST(GrammarStateTest, RandomWalksOverARealVocabularyAreJson) {
  const std::string path = std::string(TRIREME_SOURCE_DIR) + "/tests/data/tokenizers/smollm2";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is absent";
  const auto tokenizer = LoadTokenizer(path);
  ASSERT_OK(tokenizer);
  const GrammarVocabulary vocabulary = TokenizerVocabulary(**tokenizer);
  const auto compiler = MakeCompiler(vocabulary);
  const std::vector<GrammarSpec> specs = {
      Specs()[0],
      Specs()[1],
      Specs()[2],
      Specs()[3],
      SchemaSpec(R"({"type":"array","items":{"type":"number"}})"),
      SchemaSpec(R"({"type":"object","additionalProperties":{"type":"string"}})"),
      SchemaSpec(R"({"type":"number","exclusiveMinimum":0,"maximum":1})"),
      SchemaSpec(R"({"type":"string","format":"date-time"})"),
      SchemaSpec(R"({"type":["null","string"],"maxLength":20})"),
      SchemaSpec(R"({"type":"object","properties":{"a":{},"b":{"type":"array"}}})"),
  };
  std::mt19937 random(3);
  for (const GrammarSpec& spec : specs) {
    const auto grammar = Compile(*compiler, spec);
    for (int walk = 0; walk < 20; ++walk) {
      GrammarState state(grammar);
      std::string text;
      std::vector<uint32_t> mask(GrammarMaskWords(vocabulary.vocab_size));
      for (int step = 0; step < 400 && !state.finished(); ++step) {
        state.Mask(mask);
        const auto allowed = Allowed(mask);
        ASSERT_FALSE(allowed.empty()) << text;
        // Uniform, but the text ends when it may: free text would go on for ever.
        const int32_t token = state.may_stop() && random() % 2 == 0
                                  ? vocabulary.stop_tokens[0]
                                  : allowed[random() % allowed.size()];
        ASSERT_TRUE(state.Accept(token)) << token << " after " << text;
        text += vocabulary.token_bytes[static_cast<size_t>(token)];
      }
      if (!state.finished()) continue;
      EXPECT_FALSE(nlohmann::json::parse(text, nullptr, false).is_discarded()) << text;
    }
  }
}

}  // namespace
}  // namespace trireme
