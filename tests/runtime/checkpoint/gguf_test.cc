#include "runtime/checkpoint/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "runtime/checkpoint/checkpoint.h"
#include "tests/runtime/checkpoint/gguf_file.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_directory.h"

namespace trireme {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

constexpr std::string_view kModels = TRIREME_SOURCE_DIR "/tests/data/models/";
constexpr uint32_t kF32 = 0;
constexpr uint32_t kQ8_0 = 8;
constexpr uint32_t kQ4K = 12;

struct BadGguf {
  std::string name;
  std::string bytes;
  std::vector<std::string> message;  // each must occur
};

std::string OneTensor(const GgufEntryText& entry, uint64_t data_bytes) {
  return GgufFileText{.entries = {entry}, .data_bytes = data_bytes}.File();
}

std::vector<BadGguf> BadHeads() {
  const GgufFileText good{.entries = {{"w", {4}, kF32, 0}}, .data_bytes = 16};
  GgufFileText many = good;
  many.tensor_count = uint64_t{1} << 60;
  GgufFileText one_more = good;
  one_more.tensor_count = 2;
  GgufFileText more_than_file = good;
  more_than_file.tensor_count = 40;
  const auto aligned = [&](uint32_t alignment) {
    GgufFileText text = good;
    text.alignment = alignment;
    return text.File();
  };
  const std::string head = good.Head();
  return {
      {"Empty", "", {"not a GGUF file"}},
      {"OtherMagic", "GGML" + good.File().substr(4), {"not a GGUF file"}},
      {"TruncatedInCounts", good.File().substr(0, 12), {"tensor count"}},
      {"TruncatedInName", head.substr(0, 24 + 9 - 1), {"tensor count of 1"}},
      {"TruncatedInExtents", head.substr(0, head.size() - 1 - 12), {"tensor count of 1"}},
      {"TruncatedInOffset", head.substr(0, head.size() - 1), {"within the entry of tensor 'w'"}},
      {"TruncatedInData", good.File().substr(0, good.File().size() - 1), {"'w'", "16 bytes"}},
      {"TruncatedBeforeData", head, {"'w'", "the 0 bytes of data"}},
      {"CountHuge", many.File(), {"tensor count of 1152921504606846976"}},
      {"CountBeyondFile", more_than_file.File(), {"tensor count of 40"}},
      {"CountOfOneMore", one_more.File(), {"tensor name"}},
      {"AlignmentZero", aligned(0), {"general.alignment", "found 0"}},
      {"AlignmentNoPowerOfTwo", aligned(24), {"general.alignment", "found 24"}},
      {"AlignmentHuge", aligned(1u << 31), {"general.alignment", "found 2147483648"}},
  };
}

std::vector<BadGguf> BadEntries() {
  const uint64_t half = uint64_t{1} << 32;
  return {
      {"EmptyName", OneTensor({"", {4}, kF32, 0}, 16), {"1 to 512 bytes", "found 0"}},
      {"LongName", OneTensor({std::string(513, 'n'), {4}, kF32, 0}, 16), {"found 513"}},
      {"ControlCharacterInName", OneTensor({"a\x1b[2J", {4}, kF32, 0}, 16), {"\\x1b"}},
      {"InvalidUtf8Name", OneTensor({"\xff", {4}, kF32, 0}, 16), {"printable ASCII"}},
      {"FiveAxes", OneTensor({"w", {1, 1, 1, 1, 4}, kF32, 0}, 16), {"'w'", "found 5"}},
      {"ZeroExtent", OneTensor({"w", {4, 0}, kF32, 0}, 16), {"'w'", "at least 1", "[4, 0]"}},
      {"ShapeOverflows", OneTensor({"w", {half, half}, kF32, 0}, 16), {"'w'", "overflows"}},
      {"ShapeWrapsToItsSize",
       OneTensor({"w", {4, half + 1, half - 1, 1}, kF32, 0}, 16),
       {"'w'", "overflows"}},
      {"SizeOverflows", OneTensor({"w", {half, half - 1}, kF32, 0}, 16), {"'w'", "overflows"}},
      {"PartialBlock", OneTensor({"w", {33}, kQ8_0, 0}, 68), {"'w'", "multiple of 32", "33"}},
      {"PartialSuperBlock",
       OneTensor({"w", {128, 2}, kQ4K, 0}, 144),
       {"'w'", "multiple of 256", "Q4_K", "128"}},
      {"OffsetNotAligned", OneTensor({"w", {4}, kF32, 8}, 64), {"'w'", "multiple of 32", "8"}},
      {"OffsetPastEnd", OneTensor({"w", {4}, kF32, 64}, 64), {"'w'", "offset 64", "64 bytes"}},
      {"OffsetHuge",
       OneTensor({"w", {8}, kF32, ~uint64_t{31}}, 64),
       {"'w'", "18446744073709551584"}},
      {"UnknownTypePastEnd", OneTensor({"w", {8}, 99, 128}, 64), {"'w'", "offset 128"}},
      {"Duplicate",
       GgufFileText{.entries = {{"w", {4}, kF32, 0}, {"w", {4}, kF32, 32}}, .data_bytes = 64}
           .File(),
       {"'w' occurs twice"}},
      {"Overlap",
       GgufFileText{.entries = {{"a", {12}, kF32, 0}, {"b", {4}, kF32, 32}}, .data_bytes = 64}
           .File(),
       {"'b'", "offset 32", "'a'", "48"}},
      {"SameOffset",
       GgufFileText{.entries = {{"a", {4}, kF32, 32}, {"b", {4}, kF32, 32}}, .data_bytes = 64}
           .File(),
       {"overlaps"}},
  };
}

class RefusesBadGguf : public testing::TestWithParam<BadGguf> {};

TEST_P(RefusesBadGguf, NamingTheFileAndTheCause) {
  const TempDirectory directory;
  const std::string path = directory.Write("bad.gguf", GetParam().bytes);
  const auto file = GgufFile::Open(path);
  ASSERT_THAT(file, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(path)));
  for (const std::string& part : GetParam().message) {
    EXPECT_THAT(std::string(file.status().message()), HasSubstr(part));
  }
}

std::string CaseName(const testing::TestParamInfo<BadGguf>& bad) { return bad.param.name; }
INSTANTIATE_TEST_SUITE_P(Heads, RefusesBadGguf, testing::ValuesIn(BadHeads()), CaseName);
INSTANTIATE_TEST_SUITE_P(Entries, RefusesBadGguf, testing::ValuesIn(BadEntries()), CaseName);

TEST(GgufFileTest, TurnsShapesOutermostFirst) {
  const TempDirectory directory;
  const std::string path = directory.Write(
      "a.gguf", GgufFileText{.entries = {{"q", {64, 3}, kQ8_0, 64}, {"f", {4, 3, 2}, kF32, 320}},
                             .data_bytes = 416}
                    .File());
  const auto file = GgufFile::Open(path);
  ASSERT_OK(file);
  EXPECT_EQ((*file)->dialect(), Dialect::kGguf);
  const TensorEntry* q = (*file)->Find("q");
  ASSERT_NE(q, nullptr);
  EXPECT_EQ(q->view.dtype, DType::kQ8_0);
  EXPECT_EQ(q->view.shape, (Shape{3, 64}));
  EXPECT_EQ(q->view.row_stride_bytes, 68);
  EXPECT_EQ(std::to_integer<int>(*q->view.data), 64);
  EXPECT_EQ((*file)->Find("f")->view.shape, (Shape{2, 3, 4}));
  EXPECT_EQ(std::to_integer<int>(*(*file)->Find("f")->view.data), 320 % 251);
}

TEST(GgufFileTest, HonoursTheFilesAlignment) {
  const TempDirectory directory;
  const GgufFileText text{.entries = {{"w", {4}, kF32, 128}}, .data_bytes = 144, .alignment = 64};
  const auto file = GgufFile::Open(directory.Write("a.gguf", text.File()));
  ASSERT_OK(file);
  EXPECT_EQ(std::to_integer<int>(*(*file)->Find("w")->view.data), 128);
  EXPECT_EQ((*file)->metadata().GetInteger("general.alignment").value(), 64);
}

TEST(GgufFileTest, AcceptsAFileWithoutTensorsOrPadding) {
  const TempDirectory directory;
  const auto file = GgufFile::Open(directory.Write("a.gguf", GgufFileText{}.Head()));
  ASSERT_OK(file);
  EXPECT_THAT((*file)->entries(), IsEmpty());
}

TEST(GgufFileTest, RefusesOtherVersions) {
  const TempDirectory directory;
  EXPECT_OK(GgufFile::Open(directory.Write("v2.gguf", GgufFileText{.version = 2}.File())));
  const auto file = GgufFile::Open(directory.Write("v4.gguf", GgufFileText{.version = 4}.File()));
  EXPECT_THAT(file, StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("version 4")));
}

TEST(GgufFileTest, ListsForeignTypesAndRefusesThemOnlyWhenAskedFor) {
  const TempDirectory directory;
  const GgufFileText text{
      .entries = {{"known", {256}, 10, 0}, {"future", {7, 5}, 99, 32}, {"w", {4}, kF32, 96}},
      .data_bytes = 128};
  const std::string path = directory.Write("a.gguf", text.File());
  const auto file = GgufFile::Open(path);
  ASSERT_OK(file);
  EXPECT_THAT((*file)->entries(), SizeIs(1));
  EXPECT_THAT((*file)->Require("known"),
              StatusIs(absl::StatusCode::kUnimplemented,
                       AllOf(HasSubstr(path), HasSubstr("type 10 (Q2_K)"))));
  EXPECT_THAT((*file)->Require("future"),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("type 99 (unknown)")));
}

// IEEE half precision, finite numbers only.
float HalfAt(const std::byte* at) {
  uint16_t bits = 0;
  std::memcpy(&bits, at, sizeof(bits));
  const int exponent = (bits >> 10) & 31;
  const float magnitude = std::ldexp(static_cast<float>((bits & 1023) + (exponent == 0 ? 0 : 1024)),
                                     (exponent == 0 ? 1 : exponent) - 25);
  return (bits >> 15) != 0 ? -magnitude : magnitude;
}

// Both files hold the same model, so dequantised rows must agree to half of Q8_0's step (and the
// scale's rounding to fp16): a wrong offset, shape or block layout would not.
TEST(GgufFileTest, ReadsTheSameModelFromF16AndQ8_0) {
  const auto f16 = GgufFile::Open(std::string(kModels) + "llama3-tiny-gguf-f16/model-f16.gguf");
  const auto q8 = GgufFile::Open(std::string(kModels) + "llama3-tiny-gguf-q8_0/model-q8_0.gguf");
  ASSERT_OK(f16);
  ASSERT_OK(q8);
  ASSERT_EQ((*f16)->entries().size(), (*q8)->entries().size());
  EXPECT_EQ((*q8)->Find("token_embd.weight")->view.shape, (Shape{512, 128}));
  int compared = 0;
  for (const TensorEntry& quantised : (*q8)->entries()) {
    const auto exact = (*f16)->Require(quantised.name);
    ASSERT_OK(exact);
    ASSERT_EQ((*exact)->view.shape, quantised.view.shape) << quantised.name;
    if (quantised.view.dtype != DType::kQ8_0) continue;
    const int64_t last = quantised.view.rows() - 1;
    const std::byte* block = quantised.view.row(last);
    const float scale = HalfAt(block);
    for (int i = 0; i < 32; ++i) {
      const float value = scale * static_cast<float>(static_cast<int8_t>(block[2 + i]));
      EXPECT_NEAR(value, HalfAt((*exact)->view.row(last) + 2 * i), 0.6F * std::abs(scale))
          << quantised.name << " column " << i;
      ++compared;
    }
  }
  EXPECT_GE(compared, 23 * 32);  // every matrix of 3 layers, embedding and head
}

TEST(GgufFileTest, RefusesEveryTruncationOfAPublishedModel) {
  const std::string whole =
      ReadWholeFile(std::string(kModels) + "llama3-tiny-gguf-q8_0/model-q8_0.gguf");
  for (size_t size = 0; size < whole.size(); size += size < 16384 ? 7 : 65'537) {
    const std::string prefix = whole.substr(0, size);  // its own allocation: asan sees an overrun
    const auto metadata = GgufMetadata::Parse(AsBytes(prefix), "prefix");
    if (!metadata.ok()) continue;
    EXPECT_FALSE(ParseGgufTensors(AsBytes(prefix), *metadata, "prefix").ok()) << size;
  }
}

}  // namespace
}  // namespace trireme
