#include "runtime/base/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <vector>

namespace trireme {
namespace {

TEST(ThreadPool, RunsEveryTaskOnceWhateverTheThreads) {
  for (const int threads : {1, 2, 3, 7}) {
    ThreadPool pool(threads);
    for (int64_t tasks = 0; tasks < 40; ++tasks) {
      std::vector<std::atomic<int>> runs(static_cast<size_t>(tasks));
      pool.ParallelFor(tasks, [&](int64_t i) { ++runs[static_cast<size_t>(i)]; });
      for (const auto& count : runs) ASSERT_EQ(count, 1) << threads << " threads, " << tasks;
    }
  }
}

// A range must not start before the last one has ended, nor see its tasks.
TEST(ThreadPool, RangesFollowingEachOtherDoNotMix) {
  ThreadPool pool(4);
  int64_t sum = 0;
  for (int64_t round = 0; round < 20'000; ++round) {
    std::vector<int64_t> out(5, -1);
    pool.ParallelFor(5, [&, round](int64_t i) { out[static_cast<size_t>(i)] = round + i; });
    for (int64_t i = 0; i < 5; ++i) ASSERT_EQ(out[static_cast<size_t>(i)], round + i);
    sum += out[4];
  }
  EXPECT_GT(sum, 0);
}

TEST(ThreadPool, WorkersWakeAfterSleeping) {
  ThreadPool pool(2);
  for (int round = 0; round < 20; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    std::atomic<int> runs{0};
    pool.ParallelFor(64, [&](int64_t) { ++runs; });
    ASSERT_EQ(runs, 64);
  }
}

TEST(Cores, ABindingHidesCoresOnlyFromTheThreadsOwnCount) {
  const std::vector<int> cores = MachineCores();
  ASSERT_GE(static_cast<int>(cores.size()), AvailableCores());
  std::jthread([&] {
    RunOnCore(cores.back());
    EXPECT_EQ(AvailableCores(), 1);
    EXPECT_EQ(MachineCores(), cores);
    EXPECT_EQ(AvailableCores(), 1);
  }).join();
}

}  // namespace
}  // namespace trireme
