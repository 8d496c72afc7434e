// The watch and the doorbell between processes: a rank really stopped, and the CPU time of one that
// sleeps.
#include <gmock/gmock.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <thread>

#include "parallel/group/doorbell.h"
#include "parallel/group/watch.h"
#include "tests/mpi/mpi_test_main.h"
#include "tests/parallel/group/verdict_box.h"
#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Deadline Patience() { return Deadline::AfterMs(60'000); }

int64_t MsBetween(Deadline::Clock::time_point from, Deadline::Clock::time_point to) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(to - from).count();
}

// Rank `stopped` stops itself by SIGSTOP; every other rank must name it, and it must hear of it
// once it goes on.
void StopAndExpectItsName(int stopped) {
  const std::unique_ptr<Communicator> world = FreshCommunicator();
  const FlightRing ring;
  VerdictBox verdicts;
  auto watch =
      Watch::Start(*world, ring, {}, [&](const Verdict& verdict) { verdicts.Put(verdict); });
  ASSERT_OK(watch);
  int32_t stopped_process = getpid();
  ASSERT_OK(world->Broadcast(stopped, std::as_writable_bytes(std::span(&stopped_process, 1)),
                             Patience(), "process id"));
  std::this_thread::sleep_for(std::chrono::milliseconds(300));  // every rank has heard every other
  ASSERT_OK(world->Barrier(Patience(), "about to stop"));

  const auto began = Deadline::Clock::now();
  if (world->rank() == stopped) {
    ASSERT_EQ(std::raise(SIGSTOP), 0);
  }
  const auto verdict = verdicts.Take(Patience());
  const int64_t named_after_ms = MsBetween(began, Deadline::Clock::now());
  if (world->rank() != stopped) {
    std::fprintf(stderr, "rank %d named the stopped rank %d after %d ms\n", world->rank(), stopped,
                 static_cast<int>(named_after_ms));
  }
  // One rank wakes it, when the others have had the time to decide too.
  if (world->rank() == (stopped + 1) % world->size()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    EXPECT_EQ(kill(stopped_process, SIGCONT), 0);
  }
  ASSERT_TRUE(verdict.has_value());
  EXPECT_EQ(verdict->cause, Verdict::Cause::kSilent);
  EXPECT_THAT(verdict->culprits, ElementsAre(stopped));
  EXPECT_THAT(verdict->reason,
              HasSubstr("rank " + std::to_string(stopped) + " on host " + world->HostOf(stopped)));
  if (world->rank() == stopped) {
    EXPECT_THAT(verdict->reason, HasSubstr("this rank"));
  }
  EXPECT_OK(world->Barrier(Patience(), "all have named it"));
}

TEST(MpiWatch, AStoppedLeaderIsNamedByEveryRank) { StopAndExpectItsName(0); }

TEST(MpiWatch, AStoppedFollowerIsNamedByEveryRank) {
  StopAndExpectItsName(TestSession().size() - 1);
}

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

TEST(MpiDoorbell, AnIdleRankUsesNextToNoCpu) {
  constexpr double kIdleSeconds = 3;
  const std::unique_ptr<Communicator> world = FreshCommunicator();
  const FlightRing ring;
  const auto watch = Watch::Start(*world, ring, {}, [](const Verdict&) {});
  ASSERT_OK(watch);
  const auto bell = Doorbell::Open(*world);
  ASSERT_OK(bell);
  if (world->rank() == 0) {
    std::this_thread::sleep_for(std::chrono::duration<double>(kIdleSeconds));
    (*bell)->RingOthers();
    for (int rank = 1; rank < world->size(); ++rank) {
      ASSERT_OK(world->SendMessage(rank, {}, Patience(), "wake"));
    }
  } else {
    const double before = CpuSeconds();
    const Deadline deadline = Patience();
    while (!world->Probe(0) && !deadline.Passed()) (*bell)->Wait(deadline);
    const double used = (CpuSeconds() - before) / kIdleSeconds;
    std::fprintf(stderr, "rank %d used %.2f %% of a core while idle\n", world->rank(), used * 100);
    EXPECT_LT(used, 0.05);
    ASSERT_OK(world->RecvMessage(0, 0, Patience(), "wake"));
  }
  (*watch)->Disarm();
  EXPECT_OK(world->Barrier(Patience(), "end"));
}

TEST(MpiDoorbell, WakesASleeperAndItsMessageFollows) {
  const std::unique_ptr<Communicator> world = FreshCommunicator();
  const auto bell = Doorbell::Open(*world);
  ASSERT_OK(bell);
  std::vector<int64_t> waits_us;
  for (int i = 0; i < 50; ++i) {
    double rung_at = 0;  // the ranks of this test share a machine, and so its clock
    if (world->rank() == 0) {
      std::this_thread::sleep_for(std::chrono::milliseconds(7));
      rung_at = std::chrono::duration<double>(Deadline::Clock::now().time_since_epoch()).count();
      (*bell)->RingOthers();
      for (int rank = 1; rank < world->size(); ++rank) {
        ASSERT_OK(
            world->SendMessage(rank, std::as_bytes(std::span(&rung_at, 1)), Patience(), "plan"));
      }
    } else {
      const Deadline deadline = Patience();
      while (!world->Probe(0) && !deadline.Passed()) (*bell)->Wait(deadline);
      const auto message = world->RecvMessage(0, sizeof(double), Patience(), "plan");
      ASSERT_OK(message);
      const double now =
          std::chrono::duration<double>(Deadline::Clock::now().time_since_epoch()).count();
      std::memcpy(&rung_at, message->data(), sizeof(rung_at));
      waits_us.push_back(static_cast<int64_t>((now - rung_at) * 1e6));
    }
  }
  if (world->rank() == 1) {
    std::sort(waits_us.begin(), waits_us.end());
    std::fprintf(stderr, "a sleeper woke after %d us (median), %d us (worst of 50)\n",
                 static_cast<int>(waits_us[25]), static_cast<int>(waits_us.back()));
  }
  EXPECT_OK(world->Barrier(Patience(), "end"));
}

}  // namespace
}  // namespace trireme
