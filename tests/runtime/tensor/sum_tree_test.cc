#include "runtime/tensor/sum_tree.h"

#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace trireme {
namespace {

// Sums as text: "(a+b)" tells the order of additions apart where numbers could agree by luck.
std::string Plus(const std::string& a, const std::string& b) {
  if (a.empty()) return b;
  if (b.empty()) return a;
  return "(" + a + "+" + b + ")";
}

// What a rank's schedule computes, with leaves named by their columns of the whole.
std::string RunSchedule(const LeafSchedule& schedule, int64_t origin) {
  std::vector<std::string> sums;
  for (const Range leaf : schedule.leaves) {
    const std::string name =
        std::to_string(origin + leaf.begin) + "-" + std::to_string(origin + leaf.end);
    sums.push_back(leaf.empty() ? "" : name);
  }
  for (const SumStep& step : schedule.steps) {
    auto& into = sums[static_cast<size_t>(step.into)];
    into = Plus(into, sums[static_cast<size_t>(step.from)]);
  }
  return sums.empty() ? "" : sums[0];
}

std::string AddRanks(std::vector<std::string> sums) {
  for (size_t step = 1; step < sums.size(); step *= 2) {
    for (size_t rank = 0; rank < sums.size(); rank += 2 * step) {
      sums[rank] = Plus(sums[rank], sums[rank + step]);
    }
  }
  return sums[0];
}

std::string HeadSum(int64_t query_heads, int64_t kv_heads, int ranks) {
  std::vector<std::string> sums;
  for (int rank = 0; rank < ranks; ++rank) {
    const HeadSplit split = SplitHeads(query_heads, kv_heads, 4, rank, ranks);
    sums.push_back(RunSchedule(split.schedule, split.query_heads.begin * 4));
  }
  return AddRanks(std::move(sums));
}

std::string WidthSum(int64_t width, int leaves, int ranks) {
  std::vector<std::string> sums;
  for (int rank = 0; rank < ranks; ++rank) {
    const WidthSplit split = SplitWidth(width, leaves, rank, ranks);
    sums.push_back(RunSchedule(split.schedule, split.columns.begin));
  }
  return AddRanks(std::move(sums));
}

TEST(SumTree, SplitsTheLargerHalfToTheLeft) {
  EXPECT_EQ(SubtreeItems(9, 0, 2), (Range{0, 5}));
  EXPECT_EQ(SubtreeItems(9, 1, 2), (Range{5, 9}));
  EXPECT_EQ(SubtreeItems(9, 1, 4), (Range{3, 5}));
  EXPECT_EQ(SubtreeItems(3, 3, 4), (Range{3, 3}));
}

TEST(SumTree, SubtreesCoverEachItemOnce) {
  for (int64_t items = 0; items < 40; ++items) {
    for (const int ranks : {1, 2, 4, 8, 16}) {
      int64_t next = 0;
      for (int rank = 0; rank < ranks; ++rank) {
        const Range mine = SubtreeItems(items, rank, ranks);
        EXPECT_EQ(mine.begin, next) << items << " " << rank << "/" << ranks;
        next = mine.end;
      }
      EXPECT_EQ(next, items);
    }
  }
}

// INV-TREE-1
TEST(SumTree, AnyNumberOfRanksAddsHeadsInTheOrderOfOne) {
  std::mt19937 random(1);
  for (int i = 0; i < 200; ++i) {
    const int64_t kv_heads = std::uniform_int_distribution<int64_t>(1, 17)(random);
    const int64_t query_heads = kv_heads * std::uniform_int_distribution<int64_t>(1, 9)(random);
    const std::string one = HeadSum(query_heads, kv_heads, 1);
    for (const int ranks : {2, 4, 8, 16}) {
      EXPECT_EQ(HeadSum(query_heads, kv_heads, ranks), one)
          << query_heads << " heads over " << kv_heads << ", ranks=" << ranks;
    }
  }
}

// INV-TREE-1
TEST(SumTree, AnyNumberOfRanksAddsColumnsInTheOrderOfOne) {
  std::mt19937 random(2);
  for (int i = 0; i < 200; ++i) {
    const int64_t width = std::uniform_int_distribution<int64_t>(1, 3000)(random);
    for (const int leaves : {8, 16}) {
      const std::string one = WidthSum(width, leaves, 1);
      for (const int ranks : {2, 4, 8}) {
        EXPECT_EQ(WidthSum(width, leaves, ranks), one) << width << " " << leaves << " " << ranks;
      }
    }
  }
}

TEST(SumTree, SmolLm2SplitsItsThreeKvHeadsAsTwoAndOne) {
  const HeadSplit left = SplitHeads(9, 3, 64, 0, 2);
  EXPECT_EQ(left.query_heads, (Range{0, 6}));
  EXPECT_EQ(left.kv_heads, (Range{0, 2}));
  EXPECT_EQ(left.schedule.leaves.size(), 6u);
  const HeadSplit right = SplitHeads(9, 3, 64, 1, 2);
  EXPECT_EQ(right.query_heads, (Range{6, 9}));
  EXPECT_EQ(right.kv_heads, (Range{2, 3}));
}

TEST(SumTree, RanksBeyondTheKvHeadsShareThem) {
  // 8 query heads over 2 KV heads on 4 ranks: two ranks a KV head.
  for (int rank = 0; rank < 4; ++rank) {
    const HeadSplit split = SplitHeads(8, 2, 64, rank, 4);
    EXPECT_EQ(split.query_heads, (Range{2 * rank, 2 * rank + 2}));
    EXPECT_EQ(split.kv_heads, (Range{rank / 2, rank / 2 + 1}));
  }
}

// Whether products may be made of groups must not depend on what a rank happens to hold.
TEST(SumTree, TheGrainDividesEveryLeafAndIsTheSameOnEveryRank) {
  for (const int64_t width : {1, 7, 8, 256, 320, 1000, 1536}) {
    const int64_t grain = SplitWidth(width, 8, 0, 1).schedule.grain;
    EXPECT_EQ(grain > 0 ? width % grain : width, 0) << width;
    for (const int ranks : {1, 2, 4, 8}) {
      for (int rank = 0; rank < ranks; ++rank) {
        const WidthSplit split = SplitWidth(width, 8, rank, ranks);
        EXPECT_EQ(split.schedule.grain, grain) << width << " " << rank << " of " << ranks;
        for (const Range leaf : split.schedule.leaves) {
          EXPECT_EQ((split.columns.begin + leaf.begin) % grain, 0) << width;
          EXPECT_EQ((split.columns.begin + leaf.end) % grain, 0) << width;
        }
      }
    }
  }
  EXPECT_EQ(SplitWidth(1536, 8, 0, 1).schedule.grain, 192);
  EXPECT_EQ(SplitWidth(320, 8, 0, 2).schedule.grain, 40);
  EXPECT_EQ(SplitHeads(9, 3, 64, 1, 2).schedule.grain, 64);
}

TEST(SumTree, LeavesCoverTheLocalColumns) {
  for (const int64_t width : {1, 7, 8, 1000, 1536}) {
    for (int rank = 0; rank < 4; ++rank) {
      const WidthSplit split = SplitWidth(width, 8, rank, 4);
      int64_t next = 0;
      for (const Range leaf : split.schedule.leaves) {
        EXPECT_EQ(leaf.begin, next);
        next = leaf.end;
      }
      EXPECT_EQ(next, split.columns.size());
    }
  }
}

}  // namespace
}  // namespace trireme
