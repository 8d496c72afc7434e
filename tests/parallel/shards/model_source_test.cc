#include "parallel/shards/model_source.h"

#include <gtest/gtest.h>

#include "tests/parallel/shards/shard_fixture.h"
#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST(ModelSourceTest, OpensEveryFormAlike) {
  const ScratchDirectory scratch;
  for (const char* name : {"llama3-tiny-f32", "llama-tied", "llama3-tiny-gguf-q8_0"}) {
    SCOPED_TRACE(name);
    const ModelSource source = OpenGolden(name);
    EXPECT_FALSE(source.sharded());
    EXPECT_EQ(source.mesh(), std::nullopt);
    EXPECT_EQ(source.tokenizer_path, source.path);
    EXPECT_EQ(source.identity.size(), 64U);
    ASSERT_OK(WriteShards(source, SmallSteps({.tp = 2}, scratch / name)));
    const auto shards = OpenModel(scratch / name);
    ASSERT_OK(shards);
    EXPECT_EQ(shards->mesh(), (Mesh{.tp = 2}));
    EXPECT_EQ(shards->architecture, source.architecture);
    EXPECT_EQ(shards->config.tied_head, source.config.tied_head);
    EXPECT_EQ(shards->config.vocabulary, source.config.vocabulary);
    EXPECT_EQ(shards->config.stop_tokens, source.config.stop_tokens);
    EXPECT_EQ(shards->config.rope.style, source.config.rope.style);
    EXPECT_NE(shards->identity, source.identity) << "a cut model is another thing to agree on";
    EXPECT_TRUE(std::filesystem::exists(shards->tokenizer_path));
    EXPECT_TRUE((*shards->TensorsOf(1))->holds_slices());
    EXPECT_FALSE((*source.TensorsOf(1))->holds_slices());
  }
}

TEST(ModelSourceTest, AGgufFileWithoutAHeadTensorTiesIt) {
  EXPECT_FALSE(OpenGolden("llama3-tiny-gguf-f16").config.tied_head);
  // The same file with its head under another name.
  const ScratchDirectory scratch;
  std::string bytes = ReadFile(GoldenModelPath("llama3-tiny-gguf-f16"));
  const size_t at = bytes.find("output.weight");
  ASSERT_NE(at, std::string::npos);
  bytes[at] = 'x';
  WriteFile(scratch / "tied.gguf", bytes);
  const auto tied = OpenModel(scratch / "tied.gguf");
  ASSERT_OK(tied);
  EXPECT_TRUE(tied->config.tied_head);
  ASSERT_OK(WriteShards(*tied, SmallSteps({.pp = 2}, scratch / "out")));
  EXPECT_TRUE(OpenModel(scratch / "out")->config.tied_head);
}

TEST(ModelSourceTest, IdentityTellsModelsApartAndSurvivesACopy) {
  const ScratchDirectory scratch;
  const std::string identity = OpenGolden("llama-tied").identity;
  EXPECT_NE(identity, OpenGolden("llama3-tiny-f32").identity);
  std::filesystem::copy(GoldenModelPath("llama-tied"), scratch / "copy");
  EXPECT_EQ(OpenModel(scratch / "copy")->identity, identity);
  WriteFile(scratch / "copy/tokenizer_config.json", "{}");
  EXPECT_NE(OpenModel(scratch / "copy")->identity, identity) << "another tokenizer";
}

TEST(ModelSourceTest, ShardsKnowTheirMesh) {
  const ScratchDirectory scratch;
  ASSERT_OK(WriteShards(OpenGolden("llama-tied"), SmallSteps({.pp = 2, .tp = 2}, scratch / "out")));
  const auto shards = OpenModel(scratch / "out");
  ASSERT_OK(shards);
  EXPECT_EQ(*ChooseMesh(*shards, {}), (Mesh{.pp = 2, .tp = 2}));
  EXPECT_EQ(*ChooseMesh(*shards, {.tp = 2}), (Mesh{.pp = 2, .tp = 2}));
  EXPECT_THAT(ChooseMesh(*shards, {.tp = 4}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("sharded for pp=2 tp=2"), HasSubstr("tp=4"))));
  EXPECT_THAT(ChooseMesh(*shards, {.pp = 1}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("pp=1")));
}

TEST(ModelSourceTest, ACheckpointTakesAnyMeshThatFits) {
  const ModelSource source = OpenGolden("llama-tied");
  EXPECT_EQ(*ChooseMesh(source, {}), Mesh{});
  EXPECT_EQ(*ChooseMesh(source, {.pp = 2, .tp = 4}), (Mesh{.pp = 2, .tp = 4}));
  EXPECT_THAT(ChooseMesh(source, {.tp = 3}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--tp 2")));
}

TEST(ModelSourceTest, NamesWhatIsNotAModel) {
  const ScratchDirectory scratch;
  EXPECT_THAT(OpenModel(scratch / "nothing"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("nothing")));
  std::filesystem::create_directory(scratch / "empty");
  EXPECT_THAT(OpenModel(scratch / "empty"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("config.json")));
  WriteFile(scratch / "text", "hello");
  EXPECT_FALSE(OpenModel(scratch / "text").ok());
}

}  // namespace
}  // namespace trireme
