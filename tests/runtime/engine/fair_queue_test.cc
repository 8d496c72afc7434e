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

// Whatever comes and goes: of one tenant always the lowest rank, and no tenant falls behind another
// that waits as long by more than its due (INV-FAIR-1).
TEST(FairQueue, RandomArrivalsAreServedInOrderAndInShares) {
  for (unsigned seed = 0; seed < 500; ++seed) {
    std::mt19937 random(seed);
    constexpr int64_t kLargest = 50;
    const int64_t quantum = 1 + random() % 60;
    FairQueue queue(quantum);
    const std::vector<std::string> tenants{"a", "b", "c"};
    std::map<std::string, std::map<std::pair<int64_t, uint64_t>, int64_t>> waiting;
    std::map<std::string, int64_t> served;
    uint64_t id = 0;
    const auto push = [&](const std::string& tenant) {
      const FairQueue::Entry entry{.id = ++id,
                                   .tenant = tenant,
                                   .rank = static_cast<int64_t>(random() % 100),
                                   .tokens = 1 + static_cast<int64_t>(random() % kLargest)};
      waiting[tenant][{entry.rank, entry.id}] = entry.tokens;
      queue.Push(entry);
    };
    for (const std::string& tenant : tenants) push(tenant);
    for (int turn = 0; turn < 300; ++turn) {
      // Each of them always has something waiting.
      for (const std::string& tenant : tenants) {
        if (waiting[tenant].size() < 2 || random() % 3 == 0) push(tenant);
      }
      const FairQueue::Entry entry = queue.Front();
      EXPECT_EQ(queue.Front().id, entry.id);
      auto& of_tenant = waiting[entry.tenant];
      EXPECT_EQ(of_tenant.begin()->first, std::pair(entry.rank, entry.id)) << "seed " << seed;
      queue.Pop();
      of_tenant.erase(of_tenant.begin());
      served[entry.tenant] += entry.tokens;
      for (const std::string& other : tenants) {
        EXPECT_LE(served[entry.tenant] - served[other], 2 * (quantum + kLargest))
            << "seed " << seed << " turn " << turn;
      }
    }
  }
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
