#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <random>
#include <thread>

#include "parallel/shards/durable_file.h"
#include "parallel/shards/shard_writer.h"
#include "parallel/shards/verify.h"
#include "tests/parallel/shards/shard_fixture.h"
#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

using testing::HasSubstr;

constexpr Mesh kMesh{.pp = 2, .tp = 2};

class ShardResumeTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(WriteShards(source_, SmallSteps(kMesh, scratch_ / "clean")));
    clean_ = ReadDirectory(scratch_ / "clean");
  }

  // Shards in a child that is killed at its `calls`-th call of progress. True when it was.
  bool KillAtProgress(const std::string& directory, int calls) {
    const pid_t child = fork();
    if (child == 0) {
      ShardOptions options = SmallSteps(kMesh, directory);
      int seen = 0;
      options.progress = [&](const ShardProgress&) {
        if (++seen == calls) raise(SIGKILL);
      };
      _exit(WriteShards(source_, options).ok() ? 0 : 1);
    }
    return WasKilled(child);
  }

  bool WasKilled(pid_t child) {
    int status = 0;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFSIGNALED(status) || WEXITSTATUS(status) == 0) << status;
    return WIFSIGNALED(status);
  }

  void ExpectFinishes(const std::string& directory) {
    const auto report = WriteShards(source_, SmallSteps(kMesh, directory));
    ASSERT_OK(report);
    // Not EXPECT_EQ, which would print megabytes.
    EXPECT_TRUE(ReadDirectory(directory) == clean_);
  }

  const ScratchDirectory scratch_;
  const ModelSource source_ = OpenGolden("llama3-tiny-f32");
  std::map<std::string, std::string> clean_;
};

TEST_F(ShardResumeTest, AKilledShardingIsNoModelAndResumesToTheSameFiles) {
  for (const int calls : {1, 2, 7, 40, 120, 200}) {
    SCOPED_TRACE(calls);
    const std::string directory = scratch_ / ("killed" + std::to_string(calls));
    ASSERT_TRUE(KillAtProgress(directory, calls));
    EXPECT_THAT(OpenModel(directory),
                StatusIs(absl::StatusCode::kNotFound, HasSubstr("it resumes")));
    ExpectFinishes(directory);
  }
}

TEST_F(ShardResumeTest, ReusesWhatWasCommitted) {
  ASSERT_TRUE(KillAtProgress(scratch_ / "out", 150));
  const auto report = WriteShards(source_, SmallSteps(kMesh, scratch_ / "out"));
  ASSERT_OK(report);
  // 150 chunks of at most 10 kB, committed every 100 kB and a slice.
  EXPECT_GT(report->bytes_reused, 500'000U);
  EXPECT_TRUE(ReadDirectory(scratch_ / "out") == clean_);
}

TEST_F(ShardResumeTest, SurvivesKillsAtAnyMoment) {
  std::mt19937 random(7);
  for (int round = 0; round < 6; ++round) {
    const std::string directory = scratch_ / ("round" + std::to_string(round));
    for (int kill_number = 0; kill_number < 4; ++kill_number) {
      const pid_t child = fork();
      if (child == 0) {
        ShardOptions options = SmallSteps(kMesh, directory);
        options.threads = 1 + round % 3;
        _exit(WriteShards(source_, options).ok() ? 0 : 1);
      }
      std::this_thread::sleep_for(std::chrono::microseconds(random() % 60'000));
      kill(child, SIGKILL);
      if (WasKilled(child)) continue;
      EXPECT_OK(OpenModel(directory));
      break;
    }
    ExpectFinishes(directory);
  }
}

TEST_F(ShardResumeTest, WritesAgainWhatWasDamagedSince) {
  const std::string directory = scratch_ / "out";
  ASSERT_TRUE(KillAtProgress(directory, 150));
  const std::string partial =
      PartialFile::PartialPath(JoinPath(directory, RankFileName(0, kMesh.ranks())));
  FlipBit(partial, 0);
  FlipBit(partial, 9'000);
  FlipBit(partial, 120'000);
  ExpectFinishes(directory);
}

TEST_F(ShardResumeTest, DoesNotBelieveATornJournal) {
  const std::string directory = scratch_ / "out";
  ASSERT_TRUE(KillAtProgress(directory, 150));
  const std::string journal =
      PartialFile::JournalPath(JoinPath(directory, RankFileName(0, kMesh.ranks())));
  const std::string text = ReadFile(journal);
  for (const size_t keep : {size_t{0}, size_t{10}, text.size() / 2, text.size() - 1}) {
    SCOPED_TRACE(keep);
    const std::string copy = scratch_ / ("torn" + std::to_string(keep));
    std::filesystem::copy(directory, copy);
    WriteFile(PartialFile::JournalPath(JoinPath(copy, RankFileName(0, kMesh.ranks()))),
              text.substr(0, keep));
    ExpectFinishes(copy);
  }
}

// The run ends between the last rank file's final name and the manifest; a bit rots before the
// next.
TEST_F(ShardResumeTest, FilesWithoutAManifestAreVerifiedAgain) {
  const std::string directory = scratch_ / "out";
  std::filesystem::create_directories(directory + "/manifest.json.new");
  ASSERT_FALSE(WriteShards(source_, SmallSteps(kMesh, directory)).ok());
  const std::string file = JoinPath(directory, RankFileName(1, kMesh.ranks()));
  ASSERT_TRUE(std::filesystem::exists(file));
  EXPECT_THAT(OpenModel(directory), StatusIs(absl::StatusCode::kNotFound, HasSubstr("it resumes")));
  FlipBit(file, 100'000);
  std::filesystem::remove(directory + "/manifest.json.new");
  ExpectFinishes(directory);
}

TEST_F(ShardResumeTest, ADamagedFileOfAFinishedShardingIsWrittenAgain) {
  const std::string directory = scratch_ / "clean";
  const std::string file = JoinPath(directory, RankFileName(1, kMesh.ranks()));
  std::filesystem::resize_file(file, 1000);
  std::filesystem::remove(JoinPath(directory, RankFileName(2, kMesh.ranks())));
  FlipBit(directory + "/config.json", 100);
  const auto report = WriteShards(source_, SmallSteps(kMesh, directory));
  ASSERT_OK(report);
  EXPECT_THAT(report->written, testing::ElementsAre(1, 2));
  EXPECT_THAT(report->kept, testing::ElementsAre(0, 3));
  EXPECT_TRUE(ReadDirectory(directory) == clean_);
}

TEST_F(ShardResumeTest, RefusesAnUnfinishedShardingOfAnotherModel) {
  const std::string directory = scratch_ / "out";
  ASSERT_TRUE(KillAtProgress(directory, 100));
  std::filesystem::remove(directory + "/config.json");
  std::filesystem::remove(directory + "/generation_config.json");
  EXPECT_THAT(WriteShards(OpenGolden("llama-tied"), SmallSteps(kMesh, directory)),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("unfinished shard of another model or mesh")));
  ExpectFinishes(directory);
}

TEST_F(ShardResumeTest, AnotherChunkSizeBeginsAnew) {
  const std::string directory = scratch_ / "out";
  ASSERT_TRUE(KillAtProgress(directory, 100));
  ShardOptions options = SmallSteps(kMesh, directory);
  options.chunk_bytes = 33'333;
  const auto report = WriteShards(source_, options);
  ASSERT_OK(report);
  EXPECT_EQ(report->bytes_reused, 0U);
  const auto verified = VerifyShards(directory, {});
  ASSERT_OK(verified);
  EXPECT_OK(DamageStatus(*verified));
}

}  // namespace
}  // namespace trireme
