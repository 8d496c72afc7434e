#include "runtime/engine/fair_queue.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace trireme {
namespace {

uint64_t Take(FairQueue& queue) {
  const uint64_t id = queue.Front().id;
  queue.Pop();
  return id;
}

TEST(FairQueue, OneTenantIsServedByPriorityAsFarAsAgeingAllows) {
  FairQueue queue(100);
  const auto push = [&](uint64_t id, int64_t arrival_ms, int32_t priority) {
    queue.Push({.id = id,
                .tenant = "a",
                .rank = FairQueue::RankOf(arrival_ms, priority, /*ageing_ms=*/1000),
                .tokens = 1});
  };
  push(1, 0, 2);
  push(2, 10, 0);
  push(3, 20, 0);
  push(4, 1990, 0);
  push(5, 2010, 0);  // comes too late to pass the first
  push(6, 2010, -1);
  std::vector<uint64_t> order;
  while (!queue.empty()) order.push_back(Take(queue));
  EXPECT_EQ(order, (std::vector<uint64_t>{2, 3, 6, 4, 1, 5}));
}

TEST(FairQueue, TenantsShareTokensWhateverTheSizeOfTheirRequests) {
  FairQueue queue(64);
  uint64_t id = 0;
  std::map<std::string, int64_t> sizes{{"large", 500}, {"small", 20}, {"middle", 90}};
  std::map<std::string, int64_t> served;
  for (const auto& [tenant, tokens] : sizes) {
    for (int i = 0; i < 2000; ++i) {
      queue.Push({.id = ++id, .tenant = tenant, .rank = 0, .tokens = tokens});
    }
  }
  for (int i = 0; i < 2000; ++i) {
    const FairQueue::Entry entry = queue.Front();
    queue.Pop();
    served[entry.tenant] += entry.tokens;
    // INV-FAIR-1.
    for (const auto& [tenant, tokens] : sizes) {
      EXPECT_LE(served[entry.tenant] - served[tenant], 64 + 500 + 500) << i;
    }
  }
}

TEST(FairQueue, OneWithManyRequestsDoesNotDelayTheOthers) {
  FairQueue queue(10);
  for (uint64_t id = 1; id <= 100; ++id) {
    queue.Push({.id = id, .tenant = "flood", .rank = 0, .tokens = 10});
  }
  EXPECT_EQ(Take(queue), 1U);
  queue.Push({.id = 1000, .tenant = "late", .rank = 99, .tokens = 10});
  EXPECT_TRUE(Take(queue) == 1000 || Take(queue) == 1000);
}

TEST(FairQueue, WhatIsGivenBackIsUsedAgain) {
  FairQueue queue(10);
  for (uint64_t id = 0; id < 10; ++id) {
    queue.Push({.id = id, .tenant = "a", .rank = 0, .tokens = 100});
    queue.Push({.id = 100 + id, .tenant = "b", .rank = 0, .tokens = 100});
  }
  const std::string tenant = queue.Front().tenant;
  queue.Pop();
  queue.GiveBack(tenant, 100);
  EXPECT_EQ(queue.Front().tenant, tenant);
  queue.GiveBack("nobody", 5);  // who does not wait saves nothing up
}

TEST(FairQueue, ServesALargeRequestOfASmallQuantumAtOnce) {
  FairQueue queue(1);
  queue.Push({.id = 1, .tenant = "a", .rank = 0, .tokens = int64_t{1} << 40});
  queue.Push({.id = 2, .tenant = "b", .rank = 0, .tokens = int64_t{1} << 41});
  EXPECT_EQ(Take(queue), 1U);
  EXPECT_EQ(Take(queue), 2U);
}

TEST(FairQueue, ARemovedRequestIsNotServed) {
  FairQueue queue(10);
  queue.Push({.id = 1, .tenant = "a", .rank = 0, .tokens = 1});
  queue.Push({.id = 2, .tenant = "a", .rank = 0, .tokens = 1});
  EXPECT_TRUE(queue.Remove(1));
  EXPECT_FALSE(queue.Remove(1));
  EXPECT_EQ(Take(queue), 2U);
  EXPECT_TRUE(queue.empty());
}

}  // namespace
}  // namespace trireme
