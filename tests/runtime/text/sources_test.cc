// What the readers of vocabularies accept and refuse, on small files made here.
#include "runtime/text/bpe/sources.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <random>

#include "absl/strings/escaping.h"
#include "runtime/base/status_macros.h"
#include "tests/runtime/text/golden_files.h"
#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Json = nlohmann::json;
using Ids = std::vector<int32_t>;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr auto kUnimplemented = absl::StatusCode::kUnimplemented;

// A tokenizer.json in the shape that Llama 3 and 4 have.
Json SmallJson() {
  return Json::parse(R"({
    "added_tokens": [
      {"id": 5, "content": "<s>", "special": true, "lstrip": false},
      {"id": 7, "content": "<tag>", "special": false}],
    "normalizer": null,
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
      {"type": "Split", "pattern": {"Regex": "\\p{L}+|\\s+"}, "behavior": "Isolated", "invert": false},
      {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}]},
    "post_processor": {"type": "TemplateProcessing"},
    "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "dropout": null, "unk_token": null, "byte_fallback": false,
      "ignore_merges": true,
      "vocab": {"a": 0, "b": 1, "\u0120": 2, "ab": 3, "\u0120\u0120": 4},
      "merges": ["a b", ["\u0120", "\u0120"]]}})");
}

absl::StatusOr<BpeVocabulary> Read(const Json& json) {
  return ReadTokenizerJson(json.dump(), "tokenizer.json");
}

TEST(TokenizerJson, ReadsTheShapeOfLlama) {
  auto vocabulary = Read(SmallJson());
  ASSERT_OK(vocabulary);
  EXPECT_THAT(vocabulary->tokens, ElementsAre("a", "b", " ", "ab", "  ", "<s>", "", "<tag>"));
  EXPECT_TRUE(vocabulary->whole_piece_first);
  EXPECT_THAT(vocabulary->split_patterns, ElementsAre(R"(\p{L}+|\s+)"));
  EXPECT_EQ(vocabulary->merges.size(), 2U);
  const auto tokenizer = MakeBpeTokenizer(*std::move(vocabulary));
  ASSERT_OK(tokenizer);
  EXPECT_EQ(*(*tokenizer)->Encode("ab  <s>a", SpecialTokens::kParse), (Ids{3, 4, 5, 0}));
  // An added token that is not special is found even in a user's text; a special one is not, and
  // its letters here have no tokens.
  EXPECT_EQ(*(*tokenizer)->Encode("ab<tag><s>", SpecialTokens::kAsText), (Ids{3, 7}));
  EXPECT_TRUE((*tokenizer)->IsSpecial(5));
  EXPECT_FALSE((*tokenizer)->IsSpecial(7));
  EXPECT_FALSE((*tokenizer)->SpecialId("<tag>"));
  EXPECT_EQ((*tokenizer)->Decode(Ids{3, 6, 7, -1, 99}), "ab<tag>");
}

TEST(TokenizerJson, RefusesByNameWhatItDoesNotUnderstand) {
  const std::tuple<const char*, const char*, const char*> cases[] = {
      // path, value, what the message must say
      {"/normalizer", R"({"type": "NFC"})", "normalizer NFC"},
      {"/decoder", R"({"type": "WordPiece"})", "decoder WordPiece"},
      {"/model/type", R"("Unigram")", "model Unigram"},
      {"/model/dropout", "0.1", "model.dropout 0.1"},
      {"/model/byte_fallback", "true", "model.byte_fallback"},
      {"/model/unk_token", R"("<unk>")", "model.unk_token"},
      {"/model/end_of_word_suffix", R"("</w>")", "model.end_of_word_suffix"},
      {"/pre_tokenizer", "null", "a ByteLevel step at its end"},
      {"/pre_tokenizer/pretokenizers/0", R"({"type": "Metaspace"})", "Metaspace"},
      {"/pre_tokenizer/pretokenizers/0/behavior", R"("Removed")", "behavior Isolated"},
      {"/pre_tokenizer/pretokenizers/0/invert", "true", "invert false"},
      {"/pre_tokenizer/pretokenizers/0/pattern", R"({"String": " "})", "a Regex pattern"},
      {"/pre_tokenizer/pretokenizers/1/add_prefix_space", "true", "add_prefix_space true"},
      {"/added_tokens/0/lstrip", "true", "lstrip"},
      {"/added_tokens/1/single_word", "true", "single_word"},
  };
  for (const auto& [path, value, message] : cases) {
    Json json = SmallJson();
    json[Json::json_pointer(path)] = Json::parse(value);
    EXPECT_THAT(Read(json), StatusIs(kUnimplemented, HasSubstr(message))) << path;
    EXPECT_THAT(Read(json), StatusIs(kUnimplemented, HasSubstr("tokenizer.json: "))) << path;
  }
}

TEST(TokenizerJson, RefusesContradictions) {
  const std::tuple<const char*, const char*, const char*> cases[] = {
      {"/model/vocab/a", "-1", "model.vocab[\"a\"]"},
      {"/model/vocab/a", "4294967296", "an id from 0 to"},
      {"/model/vocab/a", "1", "id 1 is both"},
      {"/model/vocab", "[]", "model.vocab"},
      {"/model/merges", "{}", "model.merges"},
      {"/model/merges/0", R"("a c")", "expected all three in the vocabulary"},
      {"/model/merges/0", R"("b a")", "to \"ba\""},
      {"/model/merges/0", R"("ab")", "one space between"},
      {"/model/merges/0", "7", "an entry of model.merges"},
      {"/added_tokens/0/id", "0", "id 0 is both"},
      {"/added_tokens/0/content", R"("a")", "has two ids"},
      {"/added_tokens/0/content", R"("")", "an entry of added_tokens"},
  };
  for (const auto& [path, value, message] : cases) {
    Json json = SmallJson();
    json[Json::json_pointer(path)] = Json::parse(value);
    EXPECT_THAT(Read(json), StatusIs(kInvalid, HasSubstr(message))) << path;
  }
  EXPECT_THAT(ReadTokenizerJson("{\"model\":", "t"), StatusIs(kInvalid, HasSubstr("valid JSON")));
  EXPECT_THAT(ReadTokenizerJson("[]", "t"), StatusIs(kInvalid, HasSubstr("a JSON object")));
  EXPECT_THAT(ReadTokenizerJson(std::string(1 << 20, '['), "t"),
              StatusIs(kInvalid, HasSubstr("nests more than")));
}

TEST(TokenizerJson, SurvivesRandomDamage) {
  const std::string whole = SmallJson().dump();
  std::mt19937 random(3);
  for (int round = 0; round < 20000; ++round) {
    std::string damaged = whole;
    for (int i = 0; i < 2; ++i) {
      damaged[random() % damaged.size()] = "0\"{}[],:truenlabs"[random() % 17];
    }
    auto vocabulary = ReadTokenizerJson(damaged, "damaged");
    if (!vocabulary.ok()) continue;
    const auto tokenizer = MakeBpeTokenizer(*std::move(vocabulary));
    if (!tokenizer.ok()) continue;
    EXPECT_OK((*tokenizer)->Encode("ab  <s> b", SpecialTokens::kParse));
  }
}

std::string SmallTiktoken() {
  std::string text;
  for (int byte = 0; byte < 256; ++byte) {
    std::string token;
    const char raw = static_cast<char>(byte);
    absl::Base64Escape(absl::string_view(&raw, 1), &token);
    text += token + " " + std::to_string(byte) + "\n";
  }
  return text + "YWI= 256\n";  // "ab"
}

TEST(Tiktoken, AppendsTheFamilysSpecialTokens) {
  auto vocabulary = ReadTiktoken(SmallTiktoken(), "tokenizer.model", TiktokenFamily::kLlama3);
  ASSERT_OK(vocabulary);
  EXPECT_EQ(vocabulary->tokens.size(), 257U + 256U);
  EXPECT_EQ(vocabulary->bos, 257);
  const auto tokenizer = MakeBpeTokenizer(*std::move(vocabulary));
  ASSERT_OK(tokenizer);
  EXPECT_EQ(*(*tokenizer)->Encode("<|begin_of_text|>ab", SpecialTokens::kParse), (Ids{257, 256}));
}

TEST(Tiktoken, KnowsMetasLists) {
  const auto llama3 = FamilySpecialTokens(TiktokenFamily::kLlama3);
  ASSERT_EQ(llama3.size(), 256U);
  EXPECT_EQ(llama3[9], "<|eot_id|>");
  EXPECT_EQ(llama3[11], "<|image|>");
  EXPECT_EQ(llama3[255], "<|reserved_special_token_245|>");
  const auto llama4 = FamilySpecialTokens(TiktokenFamily::kLlama4);
  ASSERT_EQ(llama4.size(), 2048U);
  EXPECT_EQ(llama4[8], "<|eot|>");
  EXPECT_EQ(llama4[79], "<|text_post_train_reserved_special_token_68|>");
  EXPECT_EQ(llama4[92], "<|patch|>");
  EXPECT_EQ(llama4[1143], "<|reasoning_thinking_end|>");
  EXPECT_EQ(llama4[2047], "<|reserved_special_token_903|>");
}

TEST(Tiktoken, RefusesMalformedFilesByLine) {
  const auto family = TiktokenFamily::kLlama4;
  const auto read = [&](const std::string& text) { return ReadTiktoken(text, "t.model", family); };
  EXPECT_THAT(read("YWI=\n"), StatusIs(kInvalid, HasSubstr("t.model line 1: expected a base64")));
  EXPECT_THAT(read("YQ== 0\n@@ 1\n"), StatusIs(kInvalid, HasSubstr("line 2")));
  EXPECT_THAT(read("YQ== 7\n"), StatusIs(kInvalid, HasSubstr("a rank below")));
  EXPECT_THAT(read("YQ== 0x\n"), StatusIs(kInvalid, HasSubstr("a rank below")));
  EXPECT_THAT(read("YQ== 0\nYg== 0\n"), StatusIs(kInvalid, HasSubstr("rank 0 only once")));
  EXPECT_THAT(ReadTiktoken(SmallTiktoken(), "t.model", std::nullopt),
              StatusIs(kUnimplemented, HasSubstr("t.model has 257 ranks")));
  auto missing = read("YQ== 0\n");
  ASSERT_OK(missing);
  EXPECT_THAT(MakeBpeTokenizer(*std::move(missing)),
              StatusIs(kInvalid, HasSubstr("no token stands for byte 0")));
}

// The smallest GGUF with a tokenizer; `pre` and `model` as given.
class SmallGguf {
 public:
  void Text(std::string_view text) {
    Number<uint64_t>(text.size());
    bytes_ += text;
  }
  template <typename T>
  void Number(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void String(std::string_view key, std::string_view value) {
    Text(key);
    Number<uint32_t>(8);
    Text(value);
    ++pairs_;
  }
  void Strings(std::string_view key, const std::vector<std::string>& values) {
    Array(key, 8, values.size());
    for (const std::string& value : values) Text(value);
  }
  void Integers(std::string_view key, const std::vector<int32_t>& values) {
    Array(key, 5, values.size());
    for (const int32_t value : values) Number(value);
  }
  std::string File() const {
    SmallGguf head;
    head.bytes_ = "GGUF";
    head.Number<uint32_t>(3);
    head.Number<uint64_t>(0);
    head.Number<uint64_t>(pairs_);
    return head.bytes_ + bytes_;
  }
  absl::StatusOr<BpeVocabulary> Read() const {
    const std::string file = File();
    TRI_ASSIGN_OR_RETURN(const auto metadata,
                         GgufMetadata::Parse(std::as_bytes(std::span(file)), "m.gguf"));
    return ReadGgufVocabulary(metadata, "m.gguf");
  }

 private:
  void Array(std::string_view key, uint32_t type, uint64_t count) {
    Text(key);
    Number<uint32_t>(9);
    Number(type);
    Number(count);
    ++pairs_;
  }

  std::string bytes_;
  uint64_t pairs_ = 0;
};

SmallGguf MakeGguf(std::string_view model, std::string_view pre, std::vector<std::string> tokens,
                   std::vector<int32_t> types, std::vector<std::string> merges) {
  SmallGguf gguf;
  gguf.String("tokenizer.ggml.model", model);
  gguf.String("tokenizer.ggml.pre", pre);
  gguf.Strings("tokenizer.ggml.tokens", tokens);
  gguf.Integers("tokenizer.ggml.token_type", types);
  gguf.Strings("tokenizer.ggml.merges", merges);
  return gguf;
}

TEST(GgufVocabulary, ReadsTokensTypesAndMerges) {
  auto gguf = MakeGguf("gpt2", "llama-bpe", {"a", "\xC4\xA0", "\xC4\xA0\x61", "<s>", "[pad]"},
                       {1, 1, 1, 3, 5}, {"\xC4\xA0 a"});
  gguf.String("tokenizer.chat_template", "{{ x }}");
  const auto vocabulary = gguf.Read();
  ASSERT_OK(vocabulary);
  EXPECT_THAT(vocabulary->tokens, ElementsAre("a", " ", " a", "<s>", "[pad]"));
  EXPECT_THAT(vocabulary->kinds, ElementsAre(TokenKind::kText, TokenKind::kText, TokenKind::kText,
                                             TokenKind::kSpecial, TokenKind::kUnused));
  EXPECT_TRUE(vocabulary->whole_piece_first);
  EXPECT_EQ(vocabulary->chat_template, "{{ x }}");
  EXPECT_FALSE(vocabulary->bos);
}

TEST(GgufVocabulary, RefusesWhatItDoesNotUnderstand) {
  EXPECT_THAT(MakeGguf("llama", "default", {"a"}, {1}, {}).Read(),
              StatusIs(kUnimplemented, HasSubstr("tokenizer.ggml.model is \"llama\"")));
  EXPECT_THAT(MakeGguf("gpt2", "qwen2", {"a"}, {1}, {}).Read(),
              StatusIs(kUnimplemented, HasSubstr("\"qwen2\"; supported are gpt-2, smollm")));
  EXPECT_THAT(MakeGguf("gpt2", "smollm", {"a", "b"}, {1}, {}).Read(),
              StatusIs(kInvalid, HasSubstr("2 entries and .token_type 1")));
  EXPECT_THAT(MakeGguf("gpt2", "smollm", {"a"}, {6}, {}).Read(),
              StatusIs(kInvalid, HasSubstr("token_type 6")));
  EXPECT_THAT(MakeGguf("gpt2", "smollm", {"a", "a"}, {1, 1}, {}).Read(),
              StatusIs(kInvalid, HasSubstr("has two ids")));
  EXPECT_THAT(MakeGguf("gpt2", "smollm", {"a b"}, {1}, {}).Read(),
              StatusIs(kInvalid, HasSubstr("not byte-level text")));
  EXPECT_THAT(MakeGguf("gpt2", "smollm", {"a"}, {1}, {"a a"}).Read(),
              StatusIs(kInvalid, HasSubstr("expected all three")));
  EXPECT_THAT(SmallGguf().Read(), StatusIs(absl::StatusCode::kNotFound, HasSubstr("m.gguf")));
}

class LoadTokenizerTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(testing::TempDir()) /
              testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void Write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name, std::ios::binary) << text;
  }
  std::string At(const std::string& name) const { return (folder_ / name).string(); }

  std::filesystem::path folder_;
};

TEST_F(LoadTokenizerTest, PrefersTokenizerJsonAndReadsItsConfig) {
  Write("tokenizer.model", SmallTiktoken());
  Write("tokenizer.json", SmallJson().dump());
  Write("tokenizer_config.json",
        R"({"bos_token": {"content": "<s>"}, "eos_token": "a", "chat_template": [
            {"name": "tool_use", "template": "no"}, {"name": "default", "template": "yes"}]})");
  const auto tokenizer = LoadTokenizer(folder_.string());
  ASSERT_OK(tokenizer);
  EXPECT_EQ((*tokenizer)->vocab_size(), 8);
  EXPECT_EQ((*tokenizer)->bos(), 5);
  EXPECT_EQ((*tokenizer)->eos(), 0);
  EXPECT_EQ((*tokenizer)->chat_template(), "yes");
  Write("chat_template.json", R"({"chat_template": "json"})");
  EXPECT_EQ((*LoadTokenizer(folder_.string()))->chat_template(), "json");
  Write("chat_template.jinja", "jinja");
  EXPECT_EQ((*LoadTokenizer(At("tokenizer.json")))->chat_template(), "jinja");
}

TEST_F(LoadTokenizerTest, TakesTheFamilyFromTheModelType) {
  Write("tokenizer.model", SmallTiktoken());
  EXPECT_THAT(LoadTokenizer(folder_.string()), StatusIs(kUnimplemented, HasSubstr("config.json")));
  Write("config.json", R"({"model_type": "llama4"})");
  const auto tokenizer = LoadTokenizer(folder_.string());
  ASSERT_OK(tokenizer);
  EXPECT_EQ((*tokenizer)->SpecialId("<|eot|>"), 257 + 8);
}

TEST_F(LoadTokenizerTest, FindsTheGgufOfAShardDirectoryAndASingleOne) {
  const std::string gguf = MakeGguf("gpt2", "smollm", {"a", "b"}, {1, 1}, {}).File();
  Write("model.gguf", gguf);
  EXPECT_EQ((*LoadTokenizer(folder_.string()))->vocab_size(), 2);
  Write("other.gguf", gguf);
  EXPECT_THAT(LoadTokenizer(folder_.string()),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("found 2 GGUF files")));
  Write("metadata.gguf", MakeGguf("gpt2", "smollm", {"a"}, {1}, {}).File());
  EXPECT_EQ((*LoadTokenizer(folder_.string()))->vocab_size(), 1);
}

TEST_F(LoadTokenizerTest, NamesTheFileThatIsWrong) {
  EXPECT_THAT(LoadTokenizer(At("absent")),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("absent")));
  EXPECT_THAT(LoadTokenizer(folder_.string()),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("holds no tokenizer")));
  Write("tokenizer.json", SmallJson().dump());
  Write("tokenizer_config.json", R"({"bos_token": "<nowhere>"})");
  EXPECT_THAT(LoadTokenizer(folder_.string()),
              StatusIs(kInvalid, HasSubstr("tokenizer_config.json: expected bos_token")));
  Write("tokenizer_config.json", "[");
  EXPECT_THAT(LoadTokenizer(folder_.string()), StatusIs(kInvalid, HasSubstr("a JSON object")));
  Write("tokenizer_config.json", R"({"chat_template": 7})");
  EXPECT_THAT(LoadTokenizer(folder_.string()), StatusIs(kInvalid, HasSubstr("chat_template")));
  Write("tokenizer_config.json", "{}");
  Json json = SmallJson();
  json["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "(";
  Write("tokenizer.json", json.dump());
  EXPECT_THAT(LoadTokenizer(folder_.string()), StatusIs(kInvalid, HasSubstr("does not compile")));
}

TEST(Tokenizer, RefusesTextsBeyondItsLimit) {
  const auto tokenizer = MakeBpeTokenizer(*Read(SmallJson()));
  ASSERT_OK(tokenizer);
  EXPECT_THAT(
      (*tokenizer)->Encode(std::string(Tokenizer::kMaxTextBytes + 1, 'a'), SpecialTokens::kAsText),
      StatusIs(kInvalid, HasSubstr("at most 67108864")));
}

TEST(Tokenizer, ReplacesInvalidUtf8BeforeEncoding) {
  auto vocabulary = ReadTiktoken(SmallTiktoken(), "t", TiktokenFamily::kLlama3);
  const auto tokenizer = MakeBpeTokenizer(*std::move(vocabulary));
  ASSERT_OK(tokenizer);
  EXPECT_EQ(*(*tokenizer)->Encode("a\xFF", SpecialTokens::kAsText), (Ids{'a', 0xEF, 0xBF, 0xBD}));
}

}  // namespace
}  // namespace trireme
