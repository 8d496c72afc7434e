#include "runtime/checkpoint/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/runtime/checkpoint/safetensors_file.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_directory.h"

namespace trireme {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr std::string_view kModels = TRIREME_SOURCE_DIR "/tests/data/models/";

TEST(OpenCheckpointTest, OpensAHuggingFaceDirectory) {
  const auto checkpoint = OpenCheckpoint(std::string(kModels) + "llama3-tiny-bf16");
  ASSERT_OK(checkpoint);
  EXPECT_EQ(checkpoint->tensors->dialect(), Dialect::kHuggingFace);
  EXPECT_THAT(checkpoint->config_json, HasSubstr("\"model_type\""));
  EXPECT_THAT(checkpoint->generation_config_json, HasSubstr("eos_token_id"));
  EXPECT_EQ(checkpoint->gguf, nullptr);
}

TEST(OpenCheckpointTest, OpensAGgufFileWhateverItsName) {
  const TempDirectory directory;
  const std::string path = directory.Write(
      "weights.bin", ReadWholeFile(std::string(kModels) + "llama3-tiny-gguf-q8_0/model-q8_0.gguf"));
  const auto checkpoint = OpenCheckpoint(path);
  ASSERT_OK(checkpoint);
  EXPECT_EQ(checkpoint->tensors->dialect(), Dialect::kGguf);
  ASSERT_NE(checkpoint->gguf, nullptr);
  EXPECT_EQ(checkpoint->gguf->GetString("general.architecture").value(), "llama");
  EXPECT_THAT(checkpoint->config_json, IsEmpty());
}

TEST(OpenCheckpointTest, AcceptsADirectoryWithoutGenerationConfig) {
  const TempDirectory directory;
  directory.Write("config.json", "{}");
  directory.Write("model.safetensors", MakeF32File("w", 4));
  const auto checkpoint = OpenCheckpoint(directory.path());
  ASSERT_OK(checkpoint);
  EXPECT_EQ(checkpoint->config_json, "{}");
  EXPECT_THAT(checkpoint->generation_config_json, IsEmpty());
}

TEST(OpenCheckpointTest, SaysWhatItLookedFor) {
  const TempDirectory directory;
  EXPECT_THAT(OpenCheckpoint(directory.Path("absent")),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr(directory.Path("absent"))));
  EXPECT_THAT(
      OpenCheckpoint(directory.path()),
      StatusIs(absl::StatusCode::kNotFound, AllOf(HasSubstr("config.json"), HasSubstr("GGUF"))));
  directory.Write("config.json", "{}");
  EXPECT_THAT(OpenCheckpoint(directory.path()),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("found config.json")));
  EXPECT_THAT(OpenCheckpoint(directory.Path("config.json")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not a GGUF file")));
  EXPECT_THAT(OpenCheckpoint(directory.Write("model.safetensors", MakeF32File("w", 1))),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("give the directory")));
}

TEST(OpenCheckpointTest, PointsAtTheGgufFileInADirectory) {
  EXPECT_THAT(
      OpenCheckpoint(std::string(kModels) + "llama3-tiny-gguf-f16"),
      StatusIs(absl::StatusCode::kNotFound, HasSubstr("model-f16.gguf in it; give that file")));
}

TEST(OpenCheckpointTest, RefusesAnAbsurdlyLargeConfig) {
  const TempDirectory directory;
  const std::string path = directory.Write("config.json", "{}");
  std::filesystem::resize_file(path, 1 << 30);
  EXPECT_THAT(OpenCheckpoint(directory.path()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(path)));
}

}  // namespace
}  // namespace trireme
