// Every string of the reference data, for every tokenizer there is: ids, decoded text, and
// streaming.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>

#include "runtime/text/detokenizer.h"
#include "runtime/text/tokenizer.h"
#include "tests/runtime/text/golden_files.h"
#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

using Ids = std::vector<int32_t>;

class TokenizerGolden : public testing::TestWithParam<TokenizerFile> {
 protected:
  void SetUp() override {
    TRIREME_SKIP_WITHOUT(GetParam());
    auto loaded = LoadTokenizer(GetParam().FullPath());
    ASSERT_OK(loaded);
    tokenizer_ = *std::move(loaded);
  }

  nlohmann::ordered_json Golden(const std::string& file) const {
    return ReadTestJson("tokenizers/" + std::string(GetParam().golden) + "/" + file);
  }

  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_P(TokenizerGolden, EncodesEveryStringAsTheReference) {
  const auto golden = Golden("cases.json");
  ASSERT_GE(golden["cases"].size(), 465U);
  for (const auto& one : golden["cases"]) {
    const auto text = one["text"].get<std::string>();
    const auto ids = one["ids"].get<Ids>();
    const auto parsed = tokenizer_->Encode(text, SpecialTokens::kParse);
    ASSERT_OK(parsed);
    EXPECT_EQ(*parsed, ids) << testing::PrintToString(text);
    const auto plain = tokenizer_->Encode(text, SpecialTokens::kAsText);
    ASSERT_OK(plain);
    EXPECT_EQ(*plain, one.value("ids_specials_as_text", ids)) << testing::PrintToString(text);
    for (const int32_t id : *plain) EXPECT_FALSE(tokenizer_->IsSpecial(id));
  }
}

TEST_P(TokenizerGolden, DecodesEveryStringAsTheReference) {
  const auto golden = Golden("cases.json");
  for (const auto& one : golden["cases"]) {
    const auto ids = one["ids"].get<Ids>();
    EXPECT_EQ(tokenizer_->Decode(ids), one["decoded"].get<std::string>());
    Detokenizer detokenizer(*tokenizer_, /*keep_special=*/false);
    std::string text;
    for (const int32_t id : ids) text += detokenizer.Push(id);
    text += detokenizer.Flush();
    EXPECT_EQ(text, one.value("decoded_skip_special", one["decoded"].get<std::string>()));
  }
}

TEST_P(TokenizerGolden, StreamsWholeCodePointsAsTheReference) {
  const auto golden = Golden("streaming.json");
  ASSERT_GE(golden["cases"].size(), 100U);
  for (const auto& one : golden["cases"]) {
    Detokenizer detokenizer(*tokenizer_, /*keep_special=*/true);
    std::vector<std::string> chunks;
    for (const auto id : one["ids"].get<Ids>()) chunks.push_back(detokenizer.Push(id));
    EXPECT_EQ(chunks, one["chunks"].get<std::vector<std::string>>()) << one["ids"];
    EXPECT_EQ(detokenizer.Flush(), one["flush"].get<std::string>()) << one["ids"];
  }
}

TEST_P(TokenizerGolden, NamesItsBeginAndEnd) {
  const std::map<std::string, std::pair<int32_t, int32_t>> expected = {
      {"smollm2", {1, 2}}, {"llama3", {128000, 128001}}, {"llama4", {200000, 200001}}};
  const auto [bos, eos] = expected.at(GetParam().golden);
  EXPECT_EQ(tokenizer_->bos(), bos);
  EXPECT_EQ(tokenizer_->eos(), eos);
  EXPECT_TRUE(tokenizer_->IsSpecial(bos));
  EXPECT_EQ(tokenizer_->SpecialId(tokenizer_->TokenBytes(eos)), eos);
}

// One piece of a megabyte must not take quadratic time: this would run for hours, not for a moment.
TEST_P(TokenizerGolden, EncodesAMegabyteInOnePiece) {
  for (const char* unit : {"a", " ", "A", "\n", "7", "\t ", "xyzzy", "\xE4\xBD\xA0", "!", " \n"}) {
    std::string text;
    while (text.size() < (1U << 20)) text += unit;
    const auto ids = tokenizer_->Encode(text, SpecialTokens::kParse);
    ASSERT_OK(ids);
    EXPECT_EQ(tokenizer_->Decode(*ids), text) << unit;
  }
}

INSTANTIATE_TEST_SUITE_P(All, TokenizerGolden, testing::ValuesIn(kTokenizerFiles),
                         [](const auto& file) { return file.param.name; });

}  // namespace
}  // namespace trireme
