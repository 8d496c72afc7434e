#include "parallel/group/watch.h"

#include <gmock/gmock.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <thread>

#include "parallel/comm/solo_comm.h"
#include "parallel/comm/thread_comm.h"
#include "parallel/group/doorbell.h"
#include "tests/parallel/group/verdict_box.h"
#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr int64_t kPatienceMs = 30'000;
Deadline Patience() { return Deadline::AfterMs(kPatienceMs); }

void RunRanks(ThreadGroup& group, const std::function<void(Communicator&)>& body) {
  std::vector<std::jthread> threads;
  for (int rank = 0; rank < group.size(); ++rank) {
    threads.emplace_back([&group, &body, rank] { body(*group.World(rank)); });
  }
}

// A watch whose verdicts a test can wait for.
struct WatchedRank {
  WatchedRank(Communicator& world, const FlightRing& ring, int64_t hang_timeout_ms,
              WatchOptions options = {}) {
    options.heartbeat = std::chrono::milliseconds(20);
    options.hang_timeout = std::chrono::milliseconds(hang_timeout_ms);
    auto started = Watch::Start(world, ring, options,
                                [this](const Verdict& verdict) { verdicts.Put(verdict); });
    TRI_CHECK(started.ok()) << started.status().ToString();
    watch = *std::move(started);
  }

  VerdictBox verdicts;
  std::unique_ptr<Watch> watch;
};

TEST(FindCulprit, FollowsWhoWaitsForWhom) {
  const std::vector<RankState> chain = {
      {.in_step = true, .step = 5, .progress = 9, .waiting_for = 1},
      {.in_step = true, .step = 5, .progress = 9, .waiting_for = 3},
      {.in_step = true, .step = 5, .progress = 2, .waiting_for = -1},
      {.in_step = true, .step = 5, .progress = 8, .waiting_for = -1}};
  EXPECT_EQ(FindCulprit(chain, 0), 3);
  EXPECT_EQ(FindCulprit(chain, 1), 3);
  EXPECT_EQ(FindCulprit(chain, 2), 2);
}

TEST(FindCulprit, NamesTheLeastAdvancedOfACircle) {
  const std::vector<RankState> circle = {
      {.in_step = true, .step = 5, .progress = 1, .waiting_for = 1},
      {.in_step = true, .step = 5, .progress = 7, .waiting_for = 2},
      {.in_step = true, .step = 4, .progress = 9, .waiting_for = 1}};
  EXPECT_EQ(FindCulprit(circle, 0), 2);
  EXPECT_EQ(FindCulprit(circle, 1), 2);
}

TEST(FindCulprit, StopsAtARankThatDoesNotExist) {
  const std::vector<RankState> ranks = {
      {.in_step = true, .step = 1, .progress = 1, .waiting_for = 7}};
  EXPECT_EQ(FindCulprit(ranks, 0), 0);
}

TEST(Watch, NamesASilentRankOnEveryOther) {
  ThreadGroup group(3);
  RunRanks(group, [&group](Communicator& world) {
    WatchedRank rank(world, group.ring(world.rank()), 400);
    // All have heard all.
    const Deadline deadline = Patience();
    const auto unheard = [](const Watch::PeerHealth& peer) { return peer.step != 7; };
    rank.watch->BeginStep(7, Patience());
    for (auto health = rank.watch->Health();
         std::any_of(health.begin(), health.end(), unheard) && !deadline.Passed();
         health = rank.watch->Health()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    ASSERT_OK(world.Barrier(Patience(), "all watch"));
    if (world.rank() == 2) {
      rank.watch.reset();  // falls silent
    } else {
      const auto verdict = rank.verdicts.Take(Patience());
      ASSERT_TRUE(verdict.has_value());
      EXPECT_EQ(verdict->cause, Verdict::Cause::kSilent);
      EXPECT_THAT(verdict->culprits, ElementsAre(2));
      EXPECT_THAT(verdict->reason, HasSubstr("rank 2 on host " + world.HostOf(2)));
      EXPECT_THAT(verdict->reason, HasSubstr("stopped or unreachable"));
      EXPECT_THAT(verdict->dump, HasSubstr("operations of rank"));
    }
    ASSERT_OK(world.Barrier(Patience(), "end"));
    EXPECT_FALSE(rank.verdicts.Take(Deadline::AfterMs(0)).has_value()) << "one verdict only";
  });
}

// A stopped process whose watch was in the middle of a turn woke, found its peers silent for as
// long as it had been stopped itself, and named one of them.
TEST(Watch, ForgivesItsPeersWhereverInATurnItIsHeldUp) {
  ThreadGroup group(2);
  RunRanks(group, [&group](Communicator& world) {
    constexpr int64_t kHangMs = 400;
    WatchOptions options;
    std::atomic<int> readings = 0;
    if (world.rank() == 1) {
      // Every seventh reading of the clock comes after a stop, so that stops fall everywhere.
      options.now = [&readings] {
        const int stops = ++readings / 7;
        return Deadline::Clock::now() + std::chrono::milliseconds(3 * kHangMs * stops);
      };
    }
    WatchedRank rank(world, group.ring(world.rank()), kHangMs, options);
    ASSERT_OK(world.Barrier(Patience(), "all watch"));
    const auto verdict = rank.verdicts.Take(Deadline::AfterMs(1500));
    EXPECT_FALSE(verdict.has_value()) << verdict->reason;
    if (world.rank() == 1) {
      EXPECT_GT(readings, 5 * 7);
    }
    rank.watch->Disarm();
    ASSERT_OK(world.Barrier(Patience(), "end"));
    rank.watch.reset();
  });
}

TEST(Watch, NamesTheRankThatALateStepWaitsFor) {
  ThreadGroup group(3);
  RunRanks(group, [&group](Communicator& world) {
    WatchedRank rank(world, group.ring(world.rank()), kPatienceMs);
    auto step = world.Split(0, world.rank(), Patience());
    ASSERT_OK(step);
    // With several steps in flight, ranks wait in others than the one that is late.
    (*step)->SetStep(13, Deadline::AfterMs(2000));
    if (world.rank() == 2) {
      // Busy with something that is no communication.
      rank.watch->BeginStep(12, Patience());
    } else {
      rank.watch->BeginStep(12, world.rank() == 0 ? Deadline::AfterMs(300) : Patience());
      std::vector<std::byte> rows(8);
      EXPECT_FALSE(
          (*step)->Recv(world.rank() + 1, rows, Deadline::AfterMs(1500), "hidden rows").ok());
    }
    const auto verdict = rank.verdicts.Take(Patience());
    ASSERT_TRUE(verdict.has_value());
    EXPECT_EQ(verdict->cause, Verdict::Cause::kLateStep);
    EXPECT_THAT(verdict->culprits, ElementsAre(2));
    EXPECT_EQ(verdict->found_by, 0);
    EXPECT_THAT(verdict->reason, HasSubstr("rank 2 on host"));
    if (world.rank() == 0) {
      EXPECT_THAT(verdict->reason, HasSubstr("step 12 is "));
      EXPECT_THAT(verdict->reason,
                  HasSubstr("rank 1 on host " + world.HostOf(1) +
                            " waits for it in receive \"hidden rows\" of step 13"));
      EXPECT_THAT(verdict->dump, HasSubstr("receive \"hidden rows\""));
      EXPECT_THAT(verdict->dump, HasSubstr("waits for rank 1"));
    }
    ASSERT_OK(world.Barrier(Patience(), "end"));
  });
}

TEST(Watch, SaysNothingAfterItIsDisarmed) {
  ThreadGroup group(2);
  RunRanks(group, [&group](Communicator& world) {
    WatchedRank rank(world, group.ring(world.rank()), 100);
    rank.watch->Disarm();
    ASSERT_OK(world.Barrier(Patience(), "disarmed"));
    if (world.rank() == 0) {
      rank.watch.reset();
    } else {
      EXPECT_FALSE(rank.verdicts.Take(Deadline::AfterMs(400)).has_value());
    }
    ASSERT_OK(world.Barrier(Patience(), "end"));
  });
}

TEST(Watch, SeesALateStepOfARankThatIsAlone) {
  const auto world = MakeSoloCommunicator();
  const FlightRing ring;
  WatchedRank rank(*world, ring, 1000);
  rank.watch->BeginStep(3, Deadline::AfterMs(40));
  const auto verdict = rank.verdicts.Take(Patience());
  ASSERT_TRUE(verdict.has_value());
  EXPECT_THAT(verdict->culprits, ElementsAre(0));
}

TEST(Watch, AStepThatEndsInTimeIsNoFault) {
  const auto world = MakeSoloCommunicator();
  const FlightRing ring;
  WatchedRank rank(*world, ring, 1000);
  rank.watch->BeginStep(3, Deadline::AfterMs(2000));
  rank.watch->EndStep();
  EXPECT_FALSE(rank.verdicts.Take(Deadline::AfterMs(2300)).has_value());
}

TEST(GroupSocket, DropsWhatIsNotOfTheGroup) {
  ThreadGroup group(2);
  RunRanks(group, [](Communicator& world) {
    auto socket = GroupSocket::Open(world, {}, "test");
    ASSERT_OK(socket);
    if (world.rank() == 0) {
      const SocketAddress target = ToSocketAddress((*socket)->address());
      const int stranger = ::socket(AF_INET, SOCK_DGRAM, 0);
      for (const size_t bytes : {size_t{0}, size_t{4}, size_t{28}, size_t{2000}}) {
        const std::vector<char> noise(bytes, 'x');
        sendto(stranger, noise.data(), noise.size(), 0,
               reinterpret_cast<const sockaddr*>(&target.storage), target.length);
      }
      close(stranger);
    }
    ASSERT_OK(world.Barrier(Patience(), "noise is out"));
    const std::array<std::byte, 4> word{std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}};
    if (world.rank() == 1) {
      (*socket)->Send(0, std::span(word).first(3));  // of the group, but of another size
      (*socket)->Send(0, word);
    } else {
      std::array<std::byte, 4> got{};
      const Deadline deadline = Patience();
      std::optional<GroupSocket::Received> received;
      while (!received.has_value() && !deadline.Passed()) {
        (*socket)->AwaitReadable(Deadline::AfterMs(50));
        received = (*socket)->Receive(got);
      }
      ASSERT_TRUE(received.has_value());
      EXPECT_EQ(received->from, 1);
      EXPECT_EQ(got, word);
      EXPECT_EQ((*socket)->dropped(), 5U);
    }
    ASSERT_OK(world.Barrier(Patience(), "end"));
  });
}

TEST(GroupSocket, RefusesAnAddressThatIsNotThisMachines) {
  ThreadGroup group(2);
  RunRanks(group, [](Communicator& world) {
    GroupSocketOptions options;
    if (world.rank() == 1) options.address = "203.0.113.77";
    EXPECT_THAT(GroupSocket::Open(world, options, "test"),
                StatusIs(absl::StatusCode::kUnavailable,
                         HasSubstr(world.rank() == 1 ? "203.0.113.77" : "rank 1 on host")));
  });
}

TEST(Doorbell, WakesASleeper) {
  ThreadGroup group(2);
  RunRanks(group, [](Communicator& world) {
    const auto bell = Doorbell::Open(world);
    ASSERT_OK(bell);
    if (world.rank() == 0) {
      (*bell)->RingOthers();
    } else {
      const Deadline deadline = Patience();
      bool rung = false;
      while (!rung && !deadline.Passed()) rung = (*bell)->Wait(deadline);
      EXPECT_TRUE(rung);
    }
    ASSERT_OK(world.Barrier(Patience(), "end"));
  });
}

// A lost ring costs a bounded delay: the sleeper looks for itself.
TEST(Doorbell, ReturnsToLookWithoutARing) {
  ThreadGroup group(2);
  RunRanks(group, [](Communicator& world) {
    const auto bell = Doorbell::Open(world);
    ASSERT_OK(bell);
    EXPECT_FALSE((*bell)->Wait(Deadline::Never()));
    ASSERT_OK(world.Barrier(Patience(), "end"));
  });
}

// The message comes after the ring, and may be long in coming.
TEST(Doorbell, CarriesAMessageOfAnySizeAfterARing) {
  ThreadGroup group(2);
  RunRanks(group, [](Communicator& world) {
    const auto bell = Doorbell::Open(world);
    ASSERT_OK(bell);
    const std::vector<std::byte> plan(100'000, std::byte{7});
    for (int i = 0; i < 20; ++i) {
      if (world.rank() == 0) {
        (*bell)->RingOthers();
        ASSERT_OK(world.SendMessage(1, plan, Patience(), "plan"));
      } else {
        const Deadline deadline = Patience();
        while (!world.Probe(0) && !deadline.Passed()) (*bell)->Wait(deadline);
        const auto got = world.RecvMessage(0, plan.size(), Patience(), "plan");
        ASSERT_OK(got);
        EXPECT_TRUE(std::ranges::equal(*got, plan));
      }
    }
  });
}

}  // namespace
}  // namespace trireme
