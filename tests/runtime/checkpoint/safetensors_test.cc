#include "runtime/checkpoint/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "tests/runtime/checkpoint/safetensors_file.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_directory.h"

namespace trireme {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

constexpr std::string_view kData = TRIREME_SOURCE_DIR "/tests/data/models/";

struct BadFile {
  std::string name;
  std::string bytes;
  std::vector<std::string> message;  // each must occur
};

std::string OneTensor(const std::string& fields, uint64_t data_bytes) {
  return MakeSafetensors("{\"w\":{" + fields + "}}", data_bytes);
}

std::vector<BadFile> BadLengths() {
  const std::string good = MakeF32File("w", 4);
  return {
      {"Empty", "", {"at least 8 bytes", "found 0"}},
      {"TruncatedInLength", good.substr(0, 5), {"at least 8 bytes", "found 5"}},
      {"TruncatedInHeader", good.substr(0, 30), {"of header", "found 22", "truncated"}},
      {"TruncatedInData", good.substr(0, good.size() - 1), {"'w'", "15 bytes", "[0, 16)"}},
      {"TruncatedBeforeData", good.substr(0, good.size() - 16), {"'w'", "the 0 bytes of data"}},
      {"LengthTwoTo63", LittleEndian(1ull << 63) + good.substr(8), {"9223372036854775808"}},
      {"LengthAllOnes", LittleEndian(~0ull) + good.substr(8), {"18446744073709551615"}},
      {"LengthOverLimit", LittleEndian((100 << 20) + 1) + good.substr(8), {"104857601"}},
      {"LengthPastEnd", LittleEndian(4096) + good.substr(8), {"expected 4096 bytes of header"}},
      {"LengthZero", LittleEndian(0) + good.substr(8), {"begin with '{'"}},
      {"LengthCutsJson", LittleEndian(16) + good.substr(8), {"not valid JSON"}},
  };
}

std::vector<BadFile> BadJson() {
  std::string deep = "{\"w\":";
  for (int i = 0; i < 100'000; ++i) deep += "[";
  const std::string w = R"("w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]})";
  return {
      {"NotAnObject", MakeSafetensors("[1,2]", 0), {"begin with '{'", "found '['"}},
      {"NotJson", MakeSafetensors("{hello}", 0), {"not valid JSON"}},
      {"TrailingText", MakeSafetensors("{} {}", 0), {"not valid JSON"}},
      {"DeepNesting", MakeSafetensors(deep, 0), {"'w'", "expected an object", "found an array"}},
      {"NestedField", OneTensor(R"("dtype":{"dtype":1})", 0), {"'w'", "dtype", "an object"}},
      {"TensorIsNumber", MakeSafetensors(R"({"w":5})", 0), {"'w'", "expected an object"}},
      {"DuplicateTensor", MakeSafetensors("{" + w + "," + w + "}", 4), {"'w' occurs twice"}},
      {"DuplicateMetadata",
       MakeSafetensors(R"({"__metadata__":{},"__metadata__":{}})", 0),
       {"__metadata__ occurs twice"}},
      {"DuplicateMetadataKey",
       MakeSafetensors(R"({"__metadata__":{"a":"1","a":"2"}})", 0),
       {"'a' occurs twice in __metadata__"}},
      {"MetadataNotText",
       MakeSafetensors(R"({"__metadata__":{"a":1}})", 0),
       {"'a' of __metadata__", "a string"}},
      {"InvalidUtf8Name",
       MakeSafetensors("{\"\xff\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4),
       {"not valid JSON"}},
      {"ControlCharacterInName",
       MakeSafetensors(R"({"a\u001b[2J":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4),
       {"control characters", "\\x1b"}},
      {"EmptyName",
       MakeSafetensors(R"({"":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4),
       {"1 to 512 bytes"}},
      {"NameTooLong", MakeF32File(std::string(513, 'n'), 1), {"1 to 512 bytes", "of 513 bytes"}},
  };
}

std::vector<BadFile> BadTensors() {
  return {
      {"MissingDtype",
       OneTensor(R"("shape":[1],"data_offsets":[0,4])", 4),
       {"'w'", "found no dtype"}},
      {"MissingShape",
       OneTensor(R"("dtype":"F32","data_offsets":[0,4])", 4),
       {"'w'", "found no shape"}},
      {"MissingOffsets",
       OneTensor(R"("dtype":"F32","shape":[1])", 4),
       {"'w'", "found no data_offsets"}},
      {"DuplicateField",
       OneTensor(R"("dtype":"F32","dtype":"F16","shape":[1],"data_offsets":[0,4])", 4),
       {"'w'", "dtype occurs twice"}},
      {"UnknownField",
       OneTensor(R"("dtype":"F32","shape":[1],"data_offsets":[0,4],"strides":[1])", 4),
       {"'w'", "'strides'"}},
      {"UnknownDtype",
       OneTensor(R"("dtype":"F33","shape":[1],"data_offsets":[0,4])", 4),
       {"'w'", "found 'F33'"}},
      {"DtypeOfOtherSize",
       OneTensor(R"("dtype":"F16","shape":[2],"data_offsets":[0,8])", 8),
       {"'w'", "expected 4 bytes for dtype F16 and shape [2]", "8 bytes"}},
      {"ForeignDtypeOfOtherSize",
       OneTensor(R"("dtype":"I64","shape":[2],"data_offsets":[0,8])", 8),
       {"'w'", "expected 16 bytes for dtype I64"}},
      {"ShapeOverflows",
       OneTensor(R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4])", 4),
       {"'w'", "[4294967296, 4294967296]", "overflows"}},
      {"ShapeWrapsToItsSize",
       OneTensor(R"("dtype":"F32","shape":[9223372036854775809,2],"data_offsets":[0,8])", 8),
       {"'w'", "overflows"}},
      {"ShapeBeyondUint64",
       OneTensor(R"("dtype":"F32","shape":[18446744073709551616],"data_offsets":[0,4])", 4),
       {"'w'", "shape", "no 64-bit integer"}},
      {"NegativeExtent",
       OneTensor(R"("dtype":"F32","shape":[-1],"data_offsets":[0,4])", 4),
       {"'w'", "shape", "negative"}},
      {"FractionalExtent",
       OneTensor(R"("dtype":"F32","shape":[1.5],"data_offsets":[0,4])", 4),
       {"'w'", "shape"}},
      {"ZeroExtent",
       OneTensor(R"("dtype":"F32","shape":[4,0],"data_offsets":[0,0])", 0),
       {"'w'", "at least 1", "found 0"}},
      {"TooManyAxes",
       OneTensor(R"("dtype":"F32","shape":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,)"
                 R"(1,1,1,1,1,1],"data_offsets":[0,4])",
                 4),
       {"'w'", "at most 32 numbers in shape"}},
      {"PartialBlock",
       OneTensor(R"("dtype":"Q8_0","shape":[2,33],"data_offsets":[0,68])", 68),
       {"'w'", "multiple of 32", "found 33"}},
      {"PartialByte",
       OneTensor(R"("dtype":"F4","shape":[3],"data_offsets":[0,1])", 1),
       {"'w'", "whole number of bytes"}},
      {"OneOffset",
       OneTensor(R"("dtype":"F32","shape":[1],"data_offsets":[4])", 4),
       {"'w'", "2 numbers", "found 1"}},
      {"ThreeOffsets",
       OneTensor(R"("dtype":"F32","shape":[1],"data_offsets":[0,4,8])", 4),
       {"'w'", "2 numbers"}},
      {"OffsetsReversed",
       OneTensor(R"("dtype":"F32","shape":[1],"data_offsets":[4,0])", 4),
       {"'w'", "[4, 0)"}},
      {"OffsetPastEnd",
       OneTensor(R"("dtype":"F32","shape":[1],"data_offsets":[4,8])", 4),
       {"'w'", "4 bytes of data", "[4, 8)"}},
      {"OffsetHuge",
       OneTensor(R"("dtype":"F32","shape":[1],"data_offsets":[18446744073709551612,0])", 4),
       {"'w'", "18446744073709551612"}},
  };
}

std::vector<BadFile> BadTilings() {
  const auto two = [](const std::string& a, const std::string& b, uint64_t data_bytes) {
    return MakeSafetensors(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":)" + a +
                               R"(},"b":{"dtype":"F32","shape":[2],"data_offsets":)" + b + "}}",
                           data_bytes);
  };
  return {
      {"Overlap", two("[0,8]", "[4,12]", 12), {"'b'", "begin at 4", "'a'", "end at 8"}},
      {"SameRange", two("[0,8]", "[0,8]", 8), {"overlap"}},
      {"OverlapInOtherOrder", two("[4,12]", "[0,8]", 12), {"'a'", "overlap", "'b'"}},
      {"GapBetween", two("[0,8]", "[12,20]", 20), {"'b'", "begin at 8", "found 12"}},
      {"GapAtStart", two("[4,12]", "[12,20]", 20), {"'a'", "begin at 0", "found 4"}},
      {"BytesAfterTheLast", two("[0,8]", "[8,16]", 20), {"all 20 bytes", "end at 16"}},
      {"DataWithoutTensors", MakeSafetensors("{}", 16), {"all 16 bytes", "end at 0"}},
  };
}

class RefusesBadSafetensors : public testing::TestWithParam<BadFile> {};

TEST_P(RefusesBadSafetensors, NamingTheFileAndTheCause) {
  const TempDirectory directory;
  const std::string path = directory.Write("bad.safetensors", GetParam().bytes);
  const auto file = SafetensorsFile::Open(path);
  ASSERT_THAT(file, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(path)));
  for (const std::string& part : GetParam().message) {
    EXPECT_THAT(std::string(file.status().message()), HasSubstr(part));
  }
}

std::string CaseName(const testing::TestParamInfo<BadFile>& info) { return info.param.name; }
INSTANTIATE_TEST_SUITE_P(Lengths, RefusesBadSafetensors, testing::ValuesIn(BadLengths()), CaseName);
INSTANTIATE_TEST_SUITE_P(Json, RefusesBadSafetensors, testing::ValuesIn(BadJson()), CaseName);
INSTANTIATE_TEST_SUITE_P(Tensors, RefusesBadSafetensors, testing::ValuesIn(BadTensors()), CaseName);
INSTANTIATE_TEST_SUITE_P(Tilings, RefusesBadSafetensors, testing::ValuesIn(BadTilings()), CaseName);

TEST(SafetensorsTest, ViewsTheBytesOfEachTensor) {
  const TempDirectory directory;
  // Listed out of order, to see that entries are sorted by name and ranges are respected.
  const std::string path =
      directory.Write("a.safetensors", MakeSafetensors(R"({"__metadata__":{"format":"pt"},
                          "z":{"dtype":"BF16","shape":[2,3],"data_offsets":[8,20]},
                          "b":{"data_offsets":[0,8],"shape":[2],"dtype":"F32"},
                          "s":{"dtype":"F32","shape":[],"data_offsets":[20,24]}})",
                                                       24));
  const auto file = SafetensorsFile::Open(path);
  ASSERT_OK(file);
  const auto& entries = (*file)->entries();
  ASSERT_THAT(entries, SizeIs(3));
  EXPECT_EQ(entries[0].name, "b");
  EXPECT_EQ(entries[1].name, "s");
  EXPECT_EQ(entries[2].name, "z");
  EXPECT_EQ((*file)->metadata().at("format"), "pt");
  EXPECT_EQ((*file)->dialect(), Dialect::kHuggingFace);

  const TensorEntry* z = (*file)->Find("z");
  ASSERT_NE(z, nullptr);
  EXPECT_EQ(z->view.dtype, DType::kBF16);
  EXPECT_EQ(z->view.shape, (Shape{2, 3}));
  EXPECT_EQ(z->view.bytes(), 12);
  for (int i = 0; i < 12; ++i) EXPECT_EQ(std::to_integer<int>(z->view.data[i]), 8 + i);
  EXPECT_EQ((*file)->Find("s")->view.shape, Shape{});
  EXPECT_EQ((*file)->Find("y"), nullptr);
  EXPECT_THAT((*file)->Require("y"),
              StatusIs(absl::StatusCode::kNotFound,
                       testing::AllOf(HasSubstr("'y'"), HasSubstr("3 others"), HasSubstr(path))));
}

TEST(SafetensorsTest, ViewOutlivesTheSourceWithItsFile) {
  const TempDirectory directory;
  const std::string path = directory.Write("a.safetensors", MakeF32File("w", 4));
  TensorEntry entry;
  {
    const auto file = SafetensorsFile::Open(path);
    ASSERT_OK(file);
    entry = (*file)->entries().front();
  }
  EXPECT_EQ(std::to_integer<int>(entry.view.data[15]), 15);
}

TEST(SafetensorsTest, AcceptsBlockTypesOfShards) {
  const TempDirectory directory;
  const auto file = SafetensorsFile::Open(directory.Write(
      "a.safetensors", OneTensor(R"("dtype":"Q4_1","shape":[3,64],"data_offsets":[0,120])", 120)));
  ASSERT_OK(file);
  EXPECT_EQ((*file)->Find("w")->view.dtype, DType::kQ4_1);
  EXPECT_EQ((*file)->Find("w")->view.row_stride_bytes, 40);
}

TEST(SafetensorsTest, AcceptsAFileWithoutTensors) {
  const TempDirectory directory;
  const auto file =
      SafetensorsFile::Open(directory.Write("a.safetensors", MakeSafetensors("{}", 0)));
  ASSERT_OK(file);
  EXPECT_THAT((*file)->entries(), IsEmpty());
}

TEST(SafetensorsTest, ListsForeignTensorsAndRefusesThemOnlyWhenAskedFor) {
  const TempDirectory directory;
  const std::string path =
      directory.Write("a.safetensors",
                      MakeSafetensors(R"({"index":{"dtype":"I64","shape":[2],"data_offsets":[0,16]},
                          "conv":{"dtype":"F32","shape":[1,1,1,1,2],"data_offsets":[16,24]},
                          "byte":{"dtype":"U8","shape":[1],"data_offsets":[24,25]},
                          "odd":{"dtype":"F32","shape":[1],"data_offsets":[25,29]},
                          "w":{"dtype":"F8_E4M3","shape":[3],"data_offsets":[29,32]}})",
                                      32));
  const auto file = SafetensorsFile::Open(path);
  ASSERT_OK(file);
  std::vector<std::string> names;
  for (const UnsupportedTensor& tensor : (*file)->unsupported()) names.push_back(tensor.name);
  EXPECT_THAT(names, ElementsAre("byte", "conv", "index", "odd"));
  EXPECT_THAT((*file)->entries(), SizeIs(1));
  EXPECT_OK((*file)->Require("w"));
  const auto reason = [&](const char* name, const char* part) {
    EXPECT_THAT((*file)->Require(name), StatusIs(absl::StatusCode::kUnimplemented,
                                                 testing::AllOf(HasSubstr(path), HasSubstr(part))));
  };
  reason("index", "dtype I64");
  reason("conv", "at most 4 axes");
  reason("odd", "multiple of 4");
}

TEST(SafetensorsTest, NoticesAFileThatChangedSinceItWasOpened) {
  const TempDirectory directory;
  const std::string path = directory.Write("a.safetensors", MakeF32File("w", 4));
  const auto file = SafetensorsFile::Open(path);
  ASSERT_OK(file);
  EXPECT_OK((*file)->file()->CheckUnchanged());
  std::filesystem::resize_file(path, 40);
  EXPECT_THAT((*file)->file()->CheckUnchanged(),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr(path)));
}

TEST(SafetensorsTest, SaysWhenThereIsNoSuchFile) {
  EXPECT_THAT(SafetensorsFile::Open("/nonexistent/model.safetensors"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/nonexistent/model.safetensors")));
}

TEST(SafetensorsTest, ReadsAPublishedModel) {
  const auto file = SafetensorsFile::Open(std::string(kData) + "llama-tied/model.safetensors");
  ASSERT_OK(file);
  EXPECT_THAT((*file)->unsupported(), IsEmpty());
  const auto embedding = (*file)->Require("model.embed_tokens.weight");
  ASSERT_OK(embedding);
  EXPECT_EQ((*embedding)->view.dtype, DType::kBF16);
  EXPECT_EQ((*embedding)->view.shape, (Shape{512, 192}));
}

// Every prefix of a real file is refused; none crashes (run under asan and ubsan).
TEST(SafetensorsTest, RefusesEveryTruncationOfAPublishedModel) {
  const std::string whole = ReadWholeFile(std::string(kData) + "llama-tied/model.safetensors");
  for (size_t size = 0; size < whole.size(); size += size < 4096 ? 1 : 65'537) {
    const std::string prefix = whole.substr(0, size);  // its own allocation: asan sees an overrun
    EXPECT_FALSE(ParseSafetensorsHeader(AsBytes(prefix), "prefix").ok()) << size;
  }
}

}  // namespace
}  // namespace trireme
