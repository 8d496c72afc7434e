// The one order of summation (DESIGN: numerics). A sum that tensor parallelism may split is cut along K
// into leaves that do not depend on the mesh, and the leaves are added by one binary tree. A rank owns the
// leaves of one subtree; the collective adds the subtrees' sums by the top of the same tree. So one rank
// computes exactly what eight ranks do.
//
// The tree over n items splits them ceil(n/2) | floor(n/2), recursively. Ranks are a power of two: rank r of R
// owns the node reached by reading r's bits from the highest (0 = left).
//
// INV-TREE-1: for any R that divides work, summing each rank's schedule and then the ranks' results pairwise
// (r with r^1, then r^2, …) performs the same additions as the schedule of R = 1.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/tensor/shape.h"

namespace trireme {

// The items of [0, n) that rank `rank` of `ranks` owns; empty when the tree has run out of items.
Range SubtreeItems(int64_t items, int rank, int ranks);

// One addition: sums[into] += sums[from].
struct SumStep {
  int into = 0;
  int from = 0;
};

// A rank's leaves along its local K, and the additions that leave their total in leaf 0. Leaves are
// disjoint, ascending, and cover [0, k) of the local input.
struct LeafSchedule {
  std::vector<Range> leaves;
  std::vector<SumStep> steps;
  // Every leaf of the whole width, of this rank or another, begins and ends at a multiple of so many columns:
  // what may depend on where leaves lie depends on the model alone, not on the mesh.
  int64_t grain = 1;
};

// n equal-footed leaves of a width of k elements cut by the tree (k/n each when n divides k), for one rank.
// `k_begin` is where the rank's first leaf starts in the whole width; ranges in the schedule are local.
struct WidthSplit {
  Range columns;  // of the whole width
  LeafSchedule schedule;
};
WidthSplit SplitWidth(int64_t width, int leaves, int rank, int ranks);

// Attention heads: the tree runs over KV heads first and, below a single KV head, over its query heads; the
// leaf is a query head of head_dim columns. Ranks beyond the KV heads thus share (replicate) one.
struct HeadSplit {
  Range query_heads;  // owned by this rank
  Range kv_heads;     // needed by them
  LeafSchedule schedule;  // over the rank's query heads, head_dim columns each
};
HeadSplit SplitHeads(int64_t query_heads, int64_t kv_heads, int64_t head_dim, int rank, int ranks);

}  // namespace trireme
