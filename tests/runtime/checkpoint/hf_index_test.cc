#include "runtime/checkpoint/hf_index.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/runtime/checkpoint/safetensors_file.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_directory.h"

namespace trireme {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::SizeIs;

constexpr std::string_view kData = TRIREME_SOURCE_DIR "/tests/data/models/";
constexpr std::string_view kIndex = "model.safetensors.index.json";

TEST(HfDirectoryTest, ReadsOneFile) {
  const auto source = HfDirectory::Open(std::string(kData) + "llama3-tiny-f32");
  ASSERT_OK(source);
  EXPECT_OK((*source)->Require("lm_head.weight"));
  EXPECT_EQ((*source)->Find("lm_head.weight")->view.dtype, DType::kF32);
}

TEST(HfDirectoryTest, MergesTheFilesOfAnIndexSortedByName) {
  const auto source = HfDirectory::Open(std::string(kData) + "llama3-tiny-bf16");
  ASSERT_OK(source);
  const auto& entries = (*source)->entries();
  EXPECT_TRUE(std::is_sorted(entries.begin(), entries.end(),
                             [](const auto& a, const auto& b) { return a.name < b.name; }));
  EXPECT_THAT((*source)->Find("lm_head.weight")->file->path(), HasSubstr("00001-of-00003"));
  EXPECT_THAT((*source)->Find("model.norm.weight")->file->path(), HasSubstr("00003-of-00003"));
}

TEST(HfDirectoryTest, SaysWhatItLookedForAndFound) {
  const TempDirectory directory;
  EXPECT_THAT(HfDirectory::Open(directory.path()),
              StatusIs(absl::StatusCode::kNotFound,
                       AllOf(HasSubstr("model.safetensors"), HasSubstr("found nothing"))));
  directory.Write("pytorch_model.bin", "x");
  EXPECT_THAT(HfDirectory::Open(directory.path()),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("found pytorch_model.bin")));
}

TEST(HfDirectoryTest, FollowsTheSymlinksOfADownloadCache) {
  const TempDirectory blobs;
  const TempDirectory snapshot;
  std::filesystem::create_symlink(blobs.Write("8c6f", MakeF32File("w", 4)),
                                  snapshot.Path("model.safetensors"));
  const auto source = HfDirectory::Open(snapshot.path());
  ASSERT_OK(source);
  EXPECT_OK((*source)->Require("w"));
}

TEST(HfDirectoryTest, RefusesAMissingFile) {
  const TempDirectory directory;
  directory.Write("a.safetensors", MakeF32File("w", 4));
  directory.Write(kIndex, R"({"weight_map":{"v":"b.safetensors","w":"a.safetensors"}})");
  EXPECT_THAT(HfDirectory::Open(directory.path()),
              StatusIs(absl::StatusCode::kNotFound,
                       AllOf(HasSubstr(directory.Path(kIndex)), HasSubstr("b.safetensors"))));
}

TEST(HfDirectoryTest, RefusesATensorThatNoFileHolds) {
  const TempDirectory directory;
  directory.Write("a.safetensors", MakeF32File("w", 4));
  directory.Write(kIndex, R"({"weight_map":{"v":"a.safetensors","w":"a.safetensors"}})");
  EXPECT_THAT(HfDirectory::Open(directory.path()),
              StatusIs(absl::StatusCode::kNotFound,
                       AllOf(HasSubstr("'v' in a.safetensors"), HasSubstr("none of the files"))));
}

TEST(HfDirectoryTest, RefusesATensorInAnotherFileThanListed) {
  const TempDirectory directory;
  directory.Write("a.safetensors", MakeF32File("w", 4));
  directory.Write("b.safetensors", MakeF32File("v", 4));
  directory.Write(kIndex, R"({"weight_map":{"v":"a.safetensors","w":"b.safetensors"}})");
  EXPECT_THAT(HfDirectory::Open(directory.path()),
              StatusIs(absl::StatusCode::kNotFound,
                       AllOf(HasSubstr("'v' in a.safetensors"), HasSubstr("it in b.safetensors"))));
}

TEST(HfDirectoryTest, RefusesATensorInTwoFiles) {
  const TempDirectory directory;
  directory.Write("a.safetensors", MakeF32File("w", 4));
  directory.Write("b.safetensors",
                  MakeSafetensors(R"({"v":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
                                      "w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
                                  8));
  directory.Write(kIndex, R"({"weight_map":{"v":"b.safetensors","w":"a.safetensors"}})");
  EXPECT_THAT(
      HfDirectory::Open(directory.path()),
      StatusIs(absl::StatusCode::kInvalidArgument,
               AllOf(HasSubstr("'w'"), HasSubstr("a.safetensors"), HasSubstr("b.safetensors"))));
}

TEST(HfDirectoryTest, NamesTheBadFileOfMany) {
  const TempDirectory directory;
  directory.Write("a.safetensors", MakeF32File("w", 4));
  const std::string bad = directory.Write("b.safetensors", MakeF32File("v", 4).substr(0, 20));
  directory.Write(kIndex, R"({"weight_map":{"v":"b.safetensors","w":"a.safetensors"}})");
  EXPECT_THAT(HfDirectory::Open(directory.path()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(bad)));
}

struct BadIndex {
  std::string name;
  std::string text;
  std::string message;
};

class RefusesBadIndex : public testing::TestWithParam<BadIndex> {};

TEST_P(RefusesBadIndex, NamingTheCause) {
  EXPECT_THAT(ParseHfIndex(GetParam().text, "the/index.json"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("the/index.json"), HasSubstr(GetParam().message))));
}

INSTANTIATE_TEST_SUITE_P(
    HfIndex, RefusesBadIndex,
    testing::Values(
        BadIndex{"Empty", "", "not valid JSON"}, BadIndex{"Array", "[]", "weight_map"},
        BadIndex{"NoMap", R"({"metadata":{}})", "weight_map"},
        BadIndex{"EmptyMap", R"({"weight_map":{}})", "weight_map"},
        BadIndex{"MapIsArray", R"({"weight_map":["a.safetensors"]})", "weight_map"},
        BadIndex{"FileIsNumber", R"({"weight_map":{"w":1}})", "'w'"},
        BadIndex{"Parent", R"({"weight_map":{"w":"../a.safetensors"}})", "'../a.safetensors'"},
        BadIndex{"Absolute", R"({"weight_map":{"w":"/etc/a.safetensors"}})", "plain name"},
        BadIndex{"Subdirectory", R"({"weight_map":{"w":"x/a.safetensors"}})", "plain name"},
        BadIndex{"Backslash", R"({"weight_map":{"w":"x\\a.safetensors"}})", "plain name"},
        BadIndex{"Nul", R"({"weight_map":{"w":"a\u0000.safetensors"}})", "plain name"},
        BadIndex{"OtherFormat", R"({"weight_map":{"w":"a.bin"}})", "plain name"},
        BadIndex{"DuplicateTensor", R"({"weight_map":{"w":"a.safetensors","w":"b.safetensors"}})",
                 "\"w\" occurs twice"}),
    [](const auto& bad) { return bad.param.name; });

}  // namespace
}  // namespace trireme
