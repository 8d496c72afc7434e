#include "runtime/base/gguf_metadata.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Writes GGUF bytes; every field can be wrong on purpose.
class GgufBytes {
 public:
  GgufBytes(uint64_t tensors, uint64_t pairs, uint32_t version = 3) {
    bytes_ = "GGUF";
    Add(version).Add(tensors).Add(pairs);
  }
  template <typename T>
  GgufBytes& Add(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  GgufBytes& Text(std::string_view text) {
    Add<uint64_t>(text.size());
    bytes_.append(text);
    return *this;
  }
  GgufBytes& Key(std::string_view key, GgufType type) {
    return Text(key).Add(static_cast<uint32_t>(type));
  }
  GgufBytes& Array(std::string_view key, GgufType element, uint64_t count) {
    return Key(key, GgufType::kArray).Add(static_cast<uint32_t>(element)).Add(count);
  }
  const std::string& bytes() const { return bytes_; }
  absl::StatusOr<GgufMetadata> Parse() const {
    return GgufMetadata::Parse(std::as_bytes(std::span(bytes_)), "model.gguf");
  }

 private:
  std::string bytes_;
};

GgufBytes Sample() {
  GgufBytes file(7, 9);
  file.Key("name", GgufType::kString).Text("tiny");
  file.Key("layers", GgufType::kUint32).Add<uint32_t>(30);
  file.Key("negative", GgufType::kInt16).Add<int16_t>(-5);
  file.Key("huge", GgufType::kUint64).Add<uint64_t>(~uint64_t{0});
  file.Key("epsilon", GgufType::kFloat32).Add<float>(0.5f);
  file.Key("flag", GgufType::kBool).Add<uint8_t>(1);
  file.Array("tokens", GgufType::kString, 3).Text("a").Text("").Text("bc");
  file.Array("types", GgufType::kInt32, 2).Add<int32_t>(1).Add<int32_t>(-3);
  file.Array("scores", GgufType::kFloat64, 1).Add<double>(2.25);
  return file;
}

TEST(GgufMetadata, ReadsEveryKindOfValue) {
  const GgufBytes file = Sample();
  const auto metadata = file.Parse();
  ASSERT_OK(metadata);
  EXPECT_EQ(metadata->version(), 3U);
  EXPECT_EQ(metadata->tensor_count(), 7U);
  EXPECT_EQ(metadata->tensors_offset(), file.bytes().size());
  EXPECT_EQ(metadata->pairs().size(), 9U);
  EXPECT_EQ(*metadata->GetString("name"), "tiny");
  EXPECT_EQ(*metadata->GetInteger("layers"), 30);
  EXPECT_EQ(*metadata->GetInteger("negative"), -5);
  EXPECT_EQ(*metadata->GetFloat("epsilon"), 0.5);
  EXPECT_TRUE(*metadata->GetBool("flag"));
  EXPECT_THAT(*metadata->GetStrings("tokens"), ElementsAre("a", "", "bc"));
  EXPECT_THAT(*metadata->GetIntegers("types"), ElementsAre(1, -3));
  EXPECT_THAT(*metadata->GetFloats("scores"), ElementsAre(2.25));
  EXPECT_EQ(metadata->Find("absent"), nullptr);
}

TEST(GgufMetadata, NamesKeyAndTypesWhenAnotherTypeIsAsked) {
  const GgufBytes file = Sample();
  const auto metadata = file.Parse();
  ASSERT_OK(metadata);
  const auto kInvalid = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(metadata->GetString("layers"),
              StatusIs(kInvalid, HasSubstr("\"layers\" holds uint32; expected a string")));
  EXPECT_THAT(metadata->GetInteger("name"), StatusIs(kInvalid, HasSubstr("expected an integer")));
  EXPECT_THAT(metadata->GetInteger("huge"), StatusIs(kInvalid, HasSubstr("below 2^63")));
  EXPECT_THAT(metadata->GetInteger("types"),
              StatusIs(kInvalid, HasSubstr("an array of int32; expected a single value")));
  EXPECT_THAT(metadata->GetStrings("types"), StatusIs(kInvalid, HasSubstr("array of strings")));
  EXPECT_THAT(metadata->GetIntegers("tokens"), StatusIs(kInvalid, HasSubstr("integer")));
  EXPECT_THAT(metadata->GetFloats("types"), StatusIs(kInvalid, HasSubstr("float")));
  EXPECT_THAT(metadata->GetBool("absent"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("model.gguf has no metadata key")));
}

// A terminal would obey the escape sequence in a key.
TEST(GgufMetadata, NamesKeysInPrintableCharactersOnly) {
  const std::string key = "a\x1b[2Jb\n";
  const auto names_it = HasSubstr("\"a\\x1b[2Jb\\n\"");
  const auto kInvalid = absl::StatusCode::kInvalidArgument;
  GgufBytes unknown(0, 1);
  unknown.Key(key, static_cast<GgufType>(13)).Add<uint64_t>(0);
  EXPECT_THAT(unknown.Parse(), StatusIs(kInvalid, names_it));
  GgufBytes twice(0, 2);
  twice.Key(key, GgufType::kUint8).Add<uint8_t>(0).Key(key, GgufType::kUint8).Add<uint8_t>(0);
  EXPECT_THAT(twice.Parse(), StatusIs(kInvalid, names_it));
  GgufBytes number(0, 1);
  number.Key(key, GgufType::kUint32).Add<uint32_t>(7);
  const auto metadata = number.Parse();
  ASSERT_OK(metadata);
  EXPECT_THAT(metadata->GetString(key), StatusIs(kInvalid, names_it));
  EXPECT_THAT(metadata->GetString("\x07"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("\"\\x07\"")));
}

TEST(GgufMetadata, RefusesEveryTruncation) {
  const std::string whole = Sample().bytes();
  for (size_t size = 0; size < whole.size(); ++size) {
    // An exact allocation, so that a sanitizer sees any read past the end.
    const std::vector<char> cut(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(size));
    const auto metadata = GgufMetadata::Parse(std::as_bytes(std::span(cut)), "cut.gguf");
    EXPECT_THAT(metadata, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("cut.gguf")))
        << size;
  }
}

TEST(GgufMetadata, RefusesWrongMagicAndVersion) {
  EXPECT_THAT(GgufMetadata::Parse(std::as_bytes(std::span("GGML....", 8)), "x"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not a GGUF file")));
  EXPECT_THAT(GgufBytes(0, 0, 1).Parse(),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("version 1;")));
  EXPECT_THAT(GgufBytes(0, 0, 0x03000000).Parse(),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("big-endian")));
}

TEST(GgufMetadata, RefusesCountsAndLengthsThatTheFileCannotHold) {
  const auto kInvalid = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(GgufBytes(0, ~uint64_t{0}).Parse(), StatusIs(kInvalid, HasSubstr("metadata pairs")));
  GgufBytes key(0, 1);
  key.Add<uint64_t>(uint64_t{1} << 63).Add<uint64_t>(0);
  EXPECT_THAT(key.Parse(), StatusIs(kInvalid, HasSubstr("a metadata key")));
  for (const GgufType type : {GgufType::kString, GgufType::kUint64, GgufType::kUint8}) {
    GgufBytes array(0, 1);
    array.Array("big", type, uint64_t{1} << 61).Add<uint64_t>(0);
    EXPECT_THAT(array.Parse(), StatusIs(kInvalid, HasSubstr("\"big\""))) << GgufTypeName(type);
  }
}

TEST(GgufMetadata, RefusesUnknownTypesNestedArraysAndBadKeys) {
  const auto kInvalid = absl::StatusCode::kInvalidArgument;
  GgufBytes unknown(0, 1);
  unknown.Key("k", static_cast<GgufType>(13)).Add<uint64_t>(0);
  EXPECT_THAT(unknown.Parse(), StatusIs(kInvalid, HasSubstr("type 13")));
  GgufBytes nested(0, 1);
  nested.Array("k", GgufType::kArray, 1).Add<uint64_t>(0).Add<uint64_t>(0);
  EXPECT_THAT(nested.Parse(), StatusIs(kInvalid, HasSubstr("array")));
  GgufBytes empty(0, 1);
  empty.Key("", GgufType::kUint8).Add<uint8_t>(0);
  EXPECT_THAT(empty.Parse(), StatusIs(kInvalid, HasSubstr("key of 0 bytes")));
  GgufBytes twice(0, 2);
  twice.Key("k", GgufType::kUint8).Add<uint8_t>(0).Key("k", GgufType::kUint8).Add<uint8_t>(1);
  EXPECT_THAT(twice.Parse(), StatusIs(kInvalid, HasSubstr("\"k\" occurs twice")));
}

TEST(GgufMetadata, RefusesABoolThatIsNeitherTrueNorFalse) {
  GgufBytes file(0, 1);
  file.Key("k", GgufType::kBool).Add<uint8_t>(2);
  const auto metadata = file.Parse();
  ASSERT_OK(metadata);
  EXPECT_THAT(metadata->GetBool("k"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("0 or 1")));
}

TEST(GgufMetadata, SurvivesRandomDamage) {
  const std::string whole = Sample().bytes();
  std::mt19937 random(1);
  for (int round = 0; round < 20000; ++round) {
    std::vector<char> damaged(whole.begin(), whole.end());
    for (int i = 0; i < 3; ++i) {
      damaged[random() % damaged.size()] = static_cast<char>(random());
    }
    const auto metadata = GgufMetadata::Parse(std::as_bytes(std::span(damaged)), "d");
    if (!metadata.ok()) continue;
    for (const GgufMetadata::Pair& pair : metadata->pairs()) {
      EXPECT_EQ(metadata->Find(pair.key), &pair);
      // At most one of these can be right; none may read outside the file.
      EXPECT_LE(metadata->GetString(pair.key).ok() + metadata->GetStrings(pair.key).ok() +
                    metadata->GetIntegers(pair.key).ok() + metadata->GetInteger(pair.key).ok(),
                pair.count == 0 ? 3 : 1);
    }
  }
}

TEST(GgufMetadata, CopyWithoutTensorsKeepsTheMetadata) {
  GgufBytes file = Sample();
  file.Add<uint64_t>(0x1234);  // tensor entries would follow
  const auto metadata = file.Parse();
  ASSERT_OK(metadata);
  const std::string copy = metadata->CopyWithoutTensors();
  const auto again = GgufMetadata::Parse(std::as_bytes(std::span(copy)), "metadata.gguf");
  ASSERT_OK(again);
  EXPECT_EQ(again->tensor_count(), 0U);
  EXPECT_EQ(again->tensors_offset(), copy.size());
  EXPECT_THAT(*again->GetStrings("tokens"), ElementsAre("a", "", "bc"));
}

}  // namespace
}  // namespace trireme
