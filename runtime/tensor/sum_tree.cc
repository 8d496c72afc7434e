#include "runtime/tensor/sum_tree.h"

#include <bit>
#include <numeric>

#include "runtime/base/check.h"

namespace trireme {
namespace {

Range Half(Range range, bool right) {
  const int64_t middle = range.begin + (range.size() + 1) / 2;
  return right ? Range{middle, range.end} : Range{range.begin, middle};
}

// A node of the head tree: several KV heads, or the query heads [q) of one KV head.
struct HeadNode {
  Range kv;
  Range q;
};

HeadNode HeadChild(HeadNode node, int64_t group, bool right) {
  if (node.kv.size() > 1) {
    const Range kv = Half(node.kv, right);
    return {kv, {kv.begin * group, kv.end * group}};
  }
  return {node.kv, Half(node.q, right)};
}

// Appends the additions that leave the sum of `node` in its first leaf; leaves are numbered from
// `first_head`.
void AppendHeadSteps(HeadNode node, int64_t group, int64_t first_head, LeafSchedule& schedule) {
  if (node.q.size() <= 1) return;
  const HeadNode left = HeadChild(node, group, false);
  const HeadNode right = HeadChild(node, group, true);
  AppendHeadSteps(left, group, first_head, schedule);
  AppendHeadSteps(right, group, first_head, schedule);
  schedule.steps.push_back({static_cast<int>(left.q.begin - first_head),
                            static_cast<int>(right.q.begin - first_head)});
}

void AppendSteps(Range items, int64_t first, LeafSchedule& schedule) {
  if (items.size() <= 1) return;
  const Range left = Half(items, false);
  const Range right = Half(items, true);
  AppendSteps(left, first, schedule);
  AppendSteps(right, first, schedule);
  schedule.steps.push_back(
      {static_cast<int>(left.begin - first), static_cast<int>(right.begin - first)});
}

int Depth(int ranks) {
  TRI_CHECK(ranks >= 1 && std::has_single_bit(static_cast<unsigned>(ranks)));
  return std::countr_zero(static_cast<unsigned>(ranks));
}

}  // namespace

Range SubtreeItems(int64_t items, int rank, int ranks) {
  Range range{0, items};
  for (int level = Depth(ranks) - 1; level >= 0; --level) {
    range = Half(range, ((rank >> level) & 1) != 0);
  }
  return range;
}

WidthSplit SplitWidth(int64_t width, int leaves, int rank, int ranks) {
  const Range mine = SubtreeItems(leaves, rank, ranks);
  // Where leaf i begins: the same halving, applied to the width.
  const int whole = static_cast<int>(std::bit_ceil(static_cast<unsigned>(leaves)));
  TRI_CHECK_EQ(whole, leaves) << "leaves must be a power of two";
  const auto leaf_columns = [&](int64_t leaf) {
    return SubtreeItems(width, static_cast<int>(leaf), leaves);
  };
  WidthSplit split;
  if (mine.empty()) return split;
  split.columns = {leaf_columns(mine.begin).begin, leaf_columns(mine.end - 1).end};
  for (int64_t leaf = mine.begin; leaf < mine.end; ++leaf) {
    const Range columns = leaf_columns(leaf);
    split.schedule.leaves.push_back(
        {columns.begin - split.columns.begin, columns.end - split.columns.begin});
  }
  AppendSteps(mine, mine.begin, split.schedule);
  split.schedule.grain = 0;
  for (int64_t leaf = 0; leaf < leaves; ++leaf) {
    split.schedule.grain = std::gcd(split.schedule.grain, leaf_columns(leaf).end);
  }
  return split;
}

HeadSplit SplitHeads(int64_t query_heads, int64_t kv_heads, int64_t head_dim, int rank, int ranks) {
  const int64_t group = query_heads / kv_heads;
  HeadNode node{{0, kv_heads}, {0, query_heads}};
  for (int level = Depth(ranks) - 1; level >= 0; --level) {
    node = HeadChild(node, group, ((rank >> level) & 1) != 0);
  }
  HeadSplit split;
  split.query_heads = node.q;
  if (node.q.empty()) return split;
  split.kv_heads = node.kv;
  for (int64_t head = 0; head < node.q.size(); ++head) {
    split.schedule.leaves.push_back({head * head_dim, (head + 1) * head_dim});
  }
  AppendHeadSteps(node, group, node.q.begin, split.schedule);
  split.schedule.grain = head_dim;
  return split;
}

}  // namespace trireme
