#include "parallel/group/start.h"

#include <gtest/gtest.h>

#include <thread>

#include "parallel/comm/thread_comm.h"
#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

// Runs `body(rank, world)` on `ranks` threads and returns what each gave.
template <typename Body>
std::vector<absl::Status> OnRanks(int ranks, const Body& body) {
  ThreadGroup group(ranks);
  std::vector<absl::Status> results(static_cast<size_t>(ranks));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&, rank] {
      const auto world = group.World(rank);
      results[static_cast<size_t>(rank)] = body(rank, *world);
    });
  }
  for (std::thread& thread : threads) thread.join();
  return results;
}

Deadline Soon() { return Deadline::AfterMs(20'000); }

TEST(Start, AllReadyAndEqualAgree) {
  for (const int ranks : {1, 2, 3, 8}) {
    const auto results = OnRanks(ranks, [](int, Communicator& world) {
      return AgreeToStart(world, {.identities = {{"model", "a"}, {"mesh", "tp=2"}}}, Soon());
    });
    for (const absl::Status& result : results) EXPECT_OK(result);
  }
}

TEST(Start, ARefusalReachesEveryRankWithItsReason) {
  for (const int refusing : {0, 2}) {
    const auto results = OnRanks(4, [&](int rank, Communicator& world) {
      StartVote vote{.identities = {{"model", "a"}}};
      if (rank == refusing) vote.ready = absl::DataLossError("shard 2 is truncated");
      return AgreeToStart(world, vote, Soon());
    });
    for (const absl::Status& result : results) {
      EXPECT_THAT(result, StatusIs(absl::StatusCode::kFailedPrecondition,
                                   AllOf(HasSubstr("rank " + std::to_string(refusing)),
                                         HasSubstr("shard 2 is truncated"))));
    }
  }
}

TEST(Start, RanksWithAnotherModelAreNamed) {
  const auto results = OnRanks(3, [&](int rank, Communicator& world) {
    return AgreeToStart(
        world, {.identities = {{"build", "1"}, {"model identity", rank == 1 ? "bbb" : "aaa"}}},
        Soon());
  });
  for (const absl::Status& result : results) {
    EXPECT_THAT(result, StatusIs(absl::StatusCode::kFailedPrecondition,
                                 AllOf(HasSubstr("rank 1"), HasSubstr("model identity bbb"),
                                       HasSubstr("rank 0 has aaa"), Not(HasSubstr("rank 2")))));
  }
}

TEST(Start, ARankThatDoesNotVoteIsNamed) {
  const auto results = OnRanks(2, [&](int rank, Communicator& world) {
    if (rank == 1) return absl::OkStatus();
    return AgreeToStart(world, {}, Deadline::AfterMs(100));
  });
  EXPECT_THAT(results[0], StatusIs(absl::StatusCode::kDeadlineExceeded,
                                   AllOf(HasSubstr("rank 1"), HasSubstr("start vote"))));
}

TEST(Start, TheTransportTestCoversEveryPairAndVerb) {
  for (const int ranks : {1, 2, 4, 6}) {
    const int shards = ranks == 6 ? 2 : ranks;
    const auto results = OnRanks(ranks, [&](int rank, Communicator& world) -> absl::Status {
      auto stage = world.Split(rank / shards, rank % shards, Soon());
      if (!stage.ok()) return stage.status();
      return TestTransport(world, **stage, Soon());
    });
    for (const absl::Status& result : results) EXPECT_OK(result);
  }
}

TEST(Start, TheTransportTestNamesAMissingRank) {
  const auto results = OnRanks(2, [&](int rank, Communicator& world) -> absl::Status {
    auto stage = world.Split(0, rank, Soon());
    if (rank == 1) return stage.status();
    return TestTransport(world, **stage, Deadline::AfterMs(100));
  });
  EXPECT_THAT(results[0], StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("rank 1")));
}

}  // namespace
}  // namespace trireme
