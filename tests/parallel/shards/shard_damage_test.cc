#include <gtest/gtest.h>

#include <random>

#include "parallel/shards/shard_source.h"
#include "parallel/shards/shard_writer.h"
#include "parallel/shards/verify.h"
#include "tests/parallel/shards/shard_fixture.h"
#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class ShardDamageTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(WriteShards(OpenGolden("llama-tied"), SmallSteps(kMesh, directory_)));
    const auto manifest = ReadManifest(directory_);
    ASSERT_OK(manifest);
    manifest_ = *manifest;
  }

  // What `trireme verify` and a worker that verifies at its start would say.
  absl::Status Verify() const {
    const auto report = VerifyShards(directory_, {});
    return report.ok() ? DamageStatus(*report) : report.status();
  }
  // What any worker says at its start.
  absl::Status Open(int rank) const {
    const auto model = OpenModel(directory_);
    return model.ok() ? model->TensorsOf(rank).status() : model.status();
  }

  static constexpr Mesh kMesh{.tp = 2};
  const ScratchDirectory scratch_;
  const std::string directory_ = scratch_ / "out";
  const std::string file_ = JoinPath(directory_, RankFileName(1, 2));
  v1::ShardManifest manifest_;
};

TEST_F(ShardDamageTest, AFlippedBitIsFoundInItsTensorAndChunk) {
  const v1::RankFile& listed = manifest_.rank_files(1);
  for (const v1::SliceRecord& slice : listed.slices()) {
    for (const uint64_t at : {uint64_t{0}, slice.bytes() / 2, slice.bytes() - 1}) {
      SCOPED_TRACE(slice.name() + " " + std::to_string(at));
      FlipBit(file_, slice.offset() + at);
      const auto report = VerifyShards(directory_, {});
      ASSERT_OK(report);
      ASSERT_THAT(report->damage, SizeIs(1));
      EXPECT_EQ(report->damage[0].file, file_);
      EXPECT_EQ(report->damage[0].tensor, slice.name());
      EXPECT_EQ(report->damage[0].offset,
                slice.offset() + at / listed.chunk_bytes() * listed.chunk_bytes());
      EXPECT_THAT(DamageStatus(*report),
                  StatusIs(absl::StatusCode::kDataLoss, HasSubstr(slice.name())));
      FlipBit(file_, slice.offset() + at);
    }
  }
  EXPECT_OK(Verify());
}

TEST_F(ShardDamageTest, EveryDamageIsListed) {
  for (const v1::SliceRecord& slice : manifest_.rank_files(0).slices()) {
    FlipBit(JoinPath(directory_, RankFileName(0, 2)), slice.offset());
  }
  const auto report = VerifyShards(directory_, {});
  ASSERT_OK(report);
  EXPECT_EQ(static_cast<int>(report->damage.size()), manifest_.rank_files(0).slices_size());
  const auto only_other = VerifyShards(directory_, {.ranks = {1}});
  ASSERT_OK(only_other);
  EXPECT_THAT(only_other->damage, IsEmpty());
}

TEST_F(ShardDamageTest, AFlippedBitOfTheHeaderIsRefusedAtOpening) {
  const uint64_t header = manifest_.rank_files(1).header_bytes();
  for (uint64_t at = 0; at < header; at += at < 16 ? 1 : 61) {
    SCOPED_TRACE(at);
    FlipBit(file_, at);
    EXPECT_THAT(Open(1).message(), HasSubstr("rank-00001-of-00002.safetensors"));
    EXPECT_FALSE(Verify().ok());
    EXPECT_OK(Open(0)) << "the other rank is whole";
    FlipBit(file_, at);
  }
}

TEST_F(ShardDamageTest, AFlippedBitOfTheManifestIsRefused) {
  const std::string path = JoinPath(directory_, kManifestName);
  const std::string text = ReadFile(path);
  std::mt19937 random(1);
  for (int i = 0; i < 300; ++i) {
    const uint64_t at = random() % text.size();
    const int bit = static_cast<int>(random() % 8);
    SCOPED_TRACE("byte " + std::to_string(at) + " bit " + std::to_string(bit));
    FlipBit(path, at, bit);
    EXPECT_THAT(Open(0).message(), HasSubstr("manifest.json"));
    EXPECT_FALSE(Verify().ok());
    FlipBit(path, at, bit);
  }
}

TEST_F(ShardDamageTest, ATruncatedShardIsRefusedAtOpening) {
  const std::string whole = ReadFile(file_);
  const uint64_t header = manifest_.rank_files(1).header_bytes();
  for (const uint64_t size :
       {uint64_t{0}, uint64_t{7}, uint64_t{8}, header - 1, header, whole.size() - 1}) {
    SCOPED_TRACE(size);
    WriteFile(file_, whole.substr(0, size));
    EXPECT_THAT(Open(1), StatusIs(absl::StatusCode::kDataLoss,
                                  AllOf(HasSubstr(file_), HasSubstr("truncated"))));
    EXPECT_THAT(Verify(), StatusIs(absl::StatusCode::kDataLoss, HasSubstr(file_)));
  }
  WriteFile(file_, whole + "x");
  EXPECT_THAT(Open(1), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("bytes; found")));
  EXPECT_FALSE(Verify().ok());
}

TEST_F(ShardDamageTest, AMissingFileIsNamed) {
  std::filesystem::remove(file_);
  EXPECT_THAT(Open(1), StatusIs(absl::StatusCode::kNotFound, HasSubstr(file_)));
  EXPECT_THAT(Verify(), StatusIs(absl::StatusCode::kDataLoss, HasSubstr(file_)));
  EXPECT_OK(Open(0)) << "a machine may hold only its own rank's file";
}

TEST_F(ShardDamageTest, AnExtraRankFileIsRefused) {
  for (const std::string& name : {RankFileName(2, 3), RankFileName(0, 4)}) {
    const std::string extra = JoinPath(directory_, name);
    std::filesystem::copy(file_, extra);
    EXPECT_THAT(Open(0), StatusIs(absl::StatusCode::kFailedPrecondition,
                                  AllOf(HasSubstr(extra), HasSubstr("not listed"))));
    EXPECT_THAT(Verify(), StatusIs(absl::StatusCode::kDataLoss, HasSubstr(extra)));
    std::filesystem::remove(extra);
  }
}

TEST_F(ShardDamageTest, SwappedRankFilesAreRefused) {
  const std::string other = JoinPath(directory_, RankFileName(0, 2));
  std::filesystem::rename(file_, scratch_ / "aside");
  std::filesystem::copy(other, file_);
  EXPECT_FALSE(Open(1).ok());
  EXPECT_FALSE(Verify().ok());
}

TEST_F(ShardDamageTest, AManifestOfAnotherModelIsRefused) {
  ASSERT_OK(WriteShards(OpenGolden("llama3-tiny-f32"), SmallSteps(kMesh, scratch_ / "other")));
  for (const char* name : {"manifest.json", "config.json", "generation_config.json"}) {
    std::filesystem::copy(JoinPath(scratch_ / "other", name), JoinPath(directory_, name),
                          std::filesystem::copy_options::overwrite_existing);
  }
  EXPECT_FALSE(Open(0).ok());
  EXPECT_THAT(Verify(), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("rank-00000")));
}

// The same sizes throughout, so that only the identity tells.
TEST_F(ShardDamageTest, AShardOfAFineTunedModelIsRefused) {
  std::filesystem::copy(GoldenModelPath("llama-tied"), scratch_ / "tuned");
  const std::string weights = scratch_ / "tuned/model.safetensors";
  std::string bytes = ReadFile(weights);
  for (size_t at = 4096; at < bytes.size(); at += 100) bytes[at] ^= 1;
  WriteFile(weights, bytes);
  const auto tuned = OpenModel(scratch_ / "tuned");
  ASSERT_OK(tuned);
  ASSERT_OK(WriteShards(*tuned, SmallSteps(kMesh, scratch_ / "other")));
  std::filesystem::copy(JoinPath(scratch_ / "other", RankFileName(1, 2)), file_,
                        std::filesystem::copy_options::overwrite_existing);
  EXPECT_THAT(Open(1), StatusIs(absl::StatusCode::kFailedPrecondition,
                                HasSubstr("of another model or mesh")));
  EXPECT_THAT(Verify(), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("another model")));
  EXPECT_NE(OpenModel(scratch_ / "other")->identity, manifest_.identity());
}

TEST_F(ShardDamageTest, AnEditedConfigurationIsRefused) {
  FlipBit(JoinPath(directory_, "config.json"), 300, 0);
  EXPECT_THAT(Open(0), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("config.json")));
  EXPECT_THAT(Verify(), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("config.json")));
}

// Manifests that are sealed, so only their sense is wrong.
TEST_F(ShardDamageTest, ContradictionsOfASealedManifestAreRefused) {
  const auto refused = [&](const char* what, auto edit) {
    SCOPED_TRACE(what);
    v1::ShardManifest manifest = manifest_;
    edit(manifest);
    ASSERT_OK(WriteManifest(directory_, manifest));
    const absl::Status status = Open(0);
    EXPECT_FALSE(status.ok());
    EXPECT_FALSE(Verify().ok());
  };
  using M = v1::ShardManifest;
  refused("version", [](M& m) { m.mutable_set()->set_format_version(kShardFormatVersion + 1); });
  refused("mesh of zero", [](M& m) { m.mutable_set()->mutable_mesh()->set_tp(0); });
  refused("mesh of 2^31", [](M& m) { m.mutable_set()->mutable_mesh()->set_pp(1U << 31); });
  refused("mesh of 3", [](M& m) { m.mutable_set()->mutable_mesh()->set_tp(3); });
  refused("another mesh", [](M& m) { m.mutable_set()->mutable_mesh()->set_pp(2); });
  refused("quantization", [](M& m) { m.mutable_set()->set_quantization("int4"); });
  refused("architecture", [](M& m) { m.mutable_set()->set_architecture("gpt"); });
  refused("untied head", [](M& m) { m.mutable_set()->set_tied_head(false); });
  refused("rank twice", [](M& m) { *m.add_rank_files() = m.rank_files(1); });
  refused("rank beyond", [](M& m) { m.mutable_rank_files(1)->set_rank(0xffffffff); });
  refused("path as name", [](M& m) { m.mutable_rank_files(0)->set_name("../x.safetensors"); });
  refused("path of companion",
          [](M& m) { m.mutable_set()->mutable_companion_files(0)->set_name("../../etc/passwd"); });
  refused("hole", [](M& m) {
    v1::SliceRecord& slice = *m.mutable_rank_files(0)->mutable_slices(1);
    slice.set_offset(slice.offset() + 64);
  });
  refused("offset of 2^64 - 1",
          [](M& m) { m.mutable_rank_files(0)->mutable_slices(1)->set_offset(~uint64_t{0}); });
  refused("shape of 2^62", [](M& m) {
    v1::SliceRecord& slice = *m.mutable_rank_files(0)->mutable_slices(0);
    slice.set_shape(0, int64_t{1} << 62);
    slice.mutable_region()->set_row_begin(0);
    slice.mutable_region()->set_row_end(int64_t{1} << 62);
  });
  refused("negative region", [](M& m) {
    m.mutable_rank_files(0)->mutable_slices(0)->mutable_region()->set_row_begin(INT64_MIN);
  });
  refused("unknown dtype",
          [](M& m) { m.mutable_rank_files(0)->mutable_slices(0)->set_dtype("?"); });
  refused("missing checksum", [](M& m) {
    m.mutable_rank_files(0)->mutable_slices(0)->mutable_chunk_sha256()->RemoveLast();
  });
  refused("chunks of zero", [](M& m) { m.mutable_rank_files(0)->set_chunk_bytes(0); });
  refused("slice of another name",
          [](M& m) { m.mutable_rank_files(0)->mutable_slices(0)->set_name("lm_head.weight"); });
  refused("slice shifted", [](M& m) {
    v1::SliceRegion& region = *m.mutable_rank_files(0)->mutable_slices(0)->mutable_region();
    region.set_row_begin(region.row_begin() + 1);
    region.set_row_end(region.row_end() + 1);
  });
  refused("file shorter than its slices", [](M& m) { m.mutable_rank_files(0)->set_bytes(10); });
  ASSERT_OK(WriteManifest(directory_, manifest_));
  EXPECT_OK(Verify());
}

TEST_F(ShardDamageTest, RefusesAManifestThatIsNone) {
  for (const char* text : {"", "{", "null", "[]", "{\"set\":3}", "{\"surprise\":1}", "\xff\xfe"}) {
    SCOPED_TRACE(text);
    WriteFile(JoinPath(directory_, kManifestName), text);
    EXPECT_THAT(Open(0).message(), HasSubstr("manifest.json"));
  }
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += "{\"set\":";
  WriteFile(JoinPath(directory_, kManifestName), deep);
  EXPECT_THAT(Open(0).message(), HasSubstr("manifest.json"));
}

TEST_F(ShardDamageTest, VerifyReportsProgressOfEveryByte) {
  VerifyProgress last;
  VerifyOptions options;
  options.progress = [&](const VerifyProgress& progress) { last = progress; };
  const auto report = VerifyShards(directory_, options);
  ASSERT_OK(report);
  EXPECT_EQ(last.bytes_done, last.bytes_total);
  EXPECT_EQ(last.bytes_done, report->bytes);
  EXPECT_EQ(report->identity, manifest_.identity());
  EXPECT_EQ(report->mesh_ranks, 2);
}

}  // namespace
}  // namespace trireme
