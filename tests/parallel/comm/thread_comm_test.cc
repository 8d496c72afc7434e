#include "parallel/comm/thread_comm.h"

#include <gtest/gtest.h>

#include <functional>
#include <thread>
#include <vector>

#include "tests/parallel/comm/communicator_conformance.h"
#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

// Runs `body` on each of the group's ranks at once.
void RunRanks(ThreadGroup& group, const std::function<void(Communicator&)>& body) {
  std::vector<std::jthread> threads;
  for (int rank = 0; rank < group.size(); ++rank) {
    threads.emplace_back([&group, &body, rank] {
      const std::unique_ptr<Communicator> world = group.World(rank);
      EXPECT_EQ(world->rank(), rank);
      EXPECT_EQ(world->size(), group.size());
      body(*world);
    });
  }
}

struct Instance {
  ConformanceCase test;
  int ranks;
};
void PrintTo(const Instance& instance, std::ostream* out) {
  *out << instance.test.name << " on " << instance.ranks;
}

std::vector<Instance> Instances() {
  std::vector<Instance> instances;
  for (const ConformanceCase& test : ConformanceCases()) {
    for (const int ranks : {1, 2, 3, 4, 5, 8}) {
      if (Fits(test, ranks)) instances.push_back({test, ranks});
    }
  }
  return instances;
}

class ThreadConformance : public testing::TestWithParam<Instance> {};

TEST_P(ThreadConformance, Holds) {
  ThreadGroup group(GetParam().ranks);
  RunRanks(group, GetParam().test.body);
}

// Ranks of a part share memory.
TEST_P(ThreadConformance, HoldsOfAPart) {
  ThreadGroup group(GetParam().ranks);
  RunRanks(group, [](Communicator& world) {
    const auto part = world.Split(0, world.rank(), Deadline::AfterMs(10'000));
    ASSERT_OK(part);
    GetParam().test.body(**part);
  });
}

INSTANTIATE_TEST_SUITE_P(Communicators, ThreadConformance, testing::ValuesIn(Instances()),
                         [](const auto& instance) {
                           return std::string(instance.param.test.name) + "On" +
                                  std::to_string(instance.param.ranks);
                         });

TEST(ThreadGroup, RecordsWhatEachRankDid) {
  ThreadGroup group(2);
  RunRanks(group, [](Communicator& world) {
    world.SetStep(7, Deadline::AfterMs(10'000));
    std::vector<float> values(16, 1.0F);
    world.TreeSum(ViewOf(std::span(values), Shape{2, 8}), "layer 1 mlp");
    EXPECT_OK(world.status());
  });
  for (int rank = 0; rank < 2; ++rank) {
    const FlightRing::Record latest = group.ring(rank).Latest();
    EXPECT_EQ(latest.sequence, 1U);
    EXPECT_EQ(latest.step, 7U);
    EXPECT_EQ(latest.verb, Verb::kTreeSum);
    EXPECT_EQ(latest.what, "layer 1 mlp");
    EXPECT_EQ(latest.bytes, 64U);
    EXPECT_EQ(latest.peer, 1 - rank);
    EXPECT_EQ(latest.state, FlightRing::State::kFinished);
  }
}

TEST(ThreadGroup, RecordsAFailure) {
  ThreadGroup group(2);
  RunRanks(group, [](Communicator& world) {
    if (world.rank() == 0) {
      EXPECT_FALSE(world.Barrier(Deadline::AfterMs(30), "alone").ok());
    }
  });
  EXPECT_EQ(group.ring(0).Latest().state, FlightRing::State::kFailed);
  EXPECT_EQ(group.ring(1).Latest().sequence, 0U);
}

}  // namespace
}  // namespace trireme
