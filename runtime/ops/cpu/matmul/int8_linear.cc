// Linear in integers. Few tokens: a group of 16 rows is transposed in registers and met by each
// token. Many: panels of 16 outputs are laid out in the thread's scratch once, and tiles of tokens
// and panels are multiplied.
#include <algorithm>

#define TRI_WITH_AVX3_DL
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/ops/cpu/matmul/int8_linear.cc"
#include "runtime/ops/cpu/targets.h"
// Highway re-includes this file once a target; order matters.
#include "hwy/foreach_target.h"
#include "runtime/ops/cpu/kernels.h"
#include "runtime/ops/cpu/lanes-inl.h"
#include "runtime/ops/cpu/matmul/int8.h"
#include "runtime/ops/cpu/matmul/int8_groups-inl.h"
#include "runtime/ops/cpu/matmul/prefetch.h"
#include "runtime/ops/int8_group.h"

TRI_BEFORE_INT8();
namespace trireme::cpu::HWY_NAMESPACE {
#if TRI_CPU_KERNELS
namespace {

// Accumulators of a tile are 2 × tokens × panels registers (integers and floats) of 32 of 512 bits,
// or 16 of 256 bits.
constexpr int kMaxDirectTokens = kParts == 1 ? 4 : 2;
constexpr int kTileTokens = kParts == 1 ? 6 : 2;
constexpr int kTilePanels = kParts == 1 ? 2 : 1;

// Where tokens' groups are.
struct Tokens {
  const Int8Rows* x;
  int64_t first;

  HWY_INLINE const int8_t* Values(int64_t token, int64_t group) const {
    return x->values + ((first + token) * x->groups + group) * kInt8Group;
  }
  HWY_INLINE int64_t At(int64_t token, int64_t group) const {
    return (first + token) * x->groups + group;
  }
};

// What an accumulator of integers begins with, so that the offset of the weights is undone.
template <class W>
HWY_INLINE VI FirstSum(const Int8Rows& x, int64_t at) {
  if constexpr (W::kOffsetBits == 0) return hn::Zero(DI());
  return hn::Set(DI(), x.counters[at] * (1 << W::kOffsetBits));
}

// sum = fma(float(dot), d of weights * d of the token, sum), and the minimum's part.
template <class W>
HWY_INLINE void AddGroup(const IntLanes& dot, const Lanes& scales, const Lanes& minima,
                         const Int8Rows& x, int64_t at, Lanes& sum) {
  const VF scale = hn::Set(DF(), x.scales[at]);
  for (int i = 0; i < kParts; ++i) {
    sum.part[i] =
        hn::MulAdd(hn::ConvertTo(DF(), dot.part[i]), hn::Mul(scales.part[i], scale), sum.part[i]);
  }
  if constexpr (W::kMinima) {
    const VF total = hn::Set(DF(), x.sums[at]);
    for (int i = 0; i < kParts; ++i) {
      sum.part[i] = hn::MulAdd(minima.part[i], total, sum.part[i]);
    }
  }
}

// Groups of weights that meet the groups of a leaf.
Range GroupsOf(Range columns) { return {columns.begin / kInt8Group, columns.end / kInt8Group}; }

// Adds the leaves of `sums`, [leaf][n] of floats; the totals are left in the first.
void SumLeaves(const LeafSchedule& schedule, int64_t n, float* sums) {
  for (const SumStep& step : schedule.steps) {
    float* into = sums + step.into * n;
    const float* from = sums + step.from * n;
    for (int64_t i = 0; i < n; i += 16) {
      for (int64_t j = i; j < i + 16; j += kWidth) {
        hn::StoreU(hn::Add(hn::LoadU(DF(), into + j), hn::LoadU(DF(), from + j)), DF(), into + j);
      }
    }
  }
}

// 16 rows and T tokens; leaf i's sums are left at sums[(i * T + t) * 16].
template <class W, int T>
HWY_NOINLINE void DotRows(const RowPointers& rows, const RowLayout& layout,
                          const Int8LinearArgs& args, const Tokens& tokens, float* sums) {
  Prefetcher<kInt8Outputs * W::kGroupBytes> prefetcher(rows[0], layout);
  const Int8Rows& x = *tokens.x;
  for (const Range leaf : args.schedule->leaves) {
    const Range groups = GroupsOf(leaf);
    const int64_t ahead = args.w_offset / kInt8Group;
    Lanes sum[T];
    for (Lanes& each : sum) each = ZeroLanes();
    for (int64_t group = groups.begin; group < groups.end; ++group) {
      prefetcher.Next();
      GroupTile tile;
      W::Load(rows, group + ahead, tile);
      for (int t = 0; t < T; ++t) {
        const int64_t at = tokens.At(t, group);
        const int8_t* values = x.values + at * kInt8Group;
        IntLanes dot;
        for (VI& part : dot.part) part = FirstSum<W>(x, at);
        IntLanes other = SetLanes(0);
        for (int j = 0; j < 8; j += 2) {
          Dot4<W::kBits>(tile.quads[j], LoadQuad(values + 4 * j), dot);
          Dot4<W::kBits>(tile.quads[j + 1], LoadQuad(values + 4 * j + 4), other);
        }
        for (int i = 0; i < kParts; ++i) dot.part[i] = hn::Add(dot.part[i], other.part[i]);
        AddGroup<W>(dot, tile.scales, tile.minima, x, at, sum[t]);
      }
    }
    for (int t = 0; t < T; ++t) StoreLanes(sum[t], sums + 16 * t);
    sums += 16 * T;
  }
}

template <class W, int T>
void DotTokens(int64_t count, const RowPointers& rows, const RowLayout& layout,
               const Int8LinearArgs& args, const Tokens& tokens, float* sums) {
  if constexpr (T > 1) {
    if (count < T) return DotTokens<W, T - 1>(count, rows, layout, args, tokens, sums);
  }
  DotRows<W, T>(rows, layout, args, tokens, sums);
}

HWY_INLINE void CopyOutputs(const float* sums, int64_t valid, float* to) {
  if (valid == kInt8Outputs) {
    StoreLanes(LoadLanes(sums), to);
  } else {
    std::copy_n(sums, valid, to);
  }
}

// The last rows stand in for those beyond.
template <class W>
void PointAtRows(const Int8LinearArgs& args, int64_t first, RowPointers& rows) {
  for (int64_t r = 0; r < kInt8Outputs; ++r) {
    const int64_t row = std::min(first + r, args.w.rows() - 1);
    rows[r] = reinterpret_cast<const uint8_t*>(args.w.row(row));
  }
}

template <class W>
RowLayout LayoutOf(const Int8LinearArgs& args) {
  const std::vector<Range>& leaves = args.schedule->leaves;
  const Range used =
      GroupsOf({leaves.front().begin + args.w_offset, leaves.back().end + args.w_offset});
  return RowLayout::Of(args.w.row_stride_bytes,
                       {used.begin * W::kGroupBytes, used.end * W::kGroupBytes}, kInt8Outputs);
}

template <class W>
void MultiplyDirect(const Int8LinearArgs& args, Range outputs, Scratch& scratch) {
  const auto leaves = static_cast<int64_t>(args.schedule->leaves.size());
  float* sums = scratch.Floats(leaves * kMaxDirectTokens * kInt8Outputs);
  const RowLayout layout = LayoutOf<W>(args);
  for (int64_t first = outputs.begin; first < outputs.end; first += kInt8Outputs) {
    RowPointers rows;
    PointAtRows<W>(args, first, rows);
    const int64_t valid = std::min(kInt8Outputs, outputs.end - first);
    for (int64_t token = 0; token < args.x.rows; token += kMaxDirectTokens) {
      const int64_t count = std::min<int64_t>(kMaxDirectTokens, args.x.rows - token);
      DotTokens<W, kMaxDirectTokens>(count, rows, layout, args, {&args.x, token}, sums);
      SumLeaves(*args.schedule, count * kInt8Outputs, sums);
      for (int64_t t = 0; t < count; ++t) {
        CopyOutputs(sums + t * kInt8Outputs, valid, args.out.row_as<float>(token + t) + first);
      }
    }
  }
}

// ── Panels: 16 outputs, group after group: the eight vectors of a group, its scales and minima.

template <class W>
constexpr int64_t kPanelGroupFloats = 128 + 16 + (W::kMinima ? 16 : 0);

template <class W>
HWY_NOINLINE void FillPanel(const RowPointers& rows, Range groups, float* panel) {
  for (int64_t group = groups.begin; group < groups.end; ++group) {
    GroupTile tile;
    W::Load(rows, group, tile);
    for (int j = 0; j < 8; ++j) {
      StoreByteLanes(tile.quads[j], reinterpret_cast<uint8_t*>(panel + 16 * j));
    }
    StoreLanes(tile.scales, panel + 128);
    if constexpr (W::kMinima) StoreLanes(tile.minima, panel + 144);
    panel += kPanelGroupFloats<W>;
  }
}

struct Panels {
  const float* first;
  int64_t stride;  // floats from one to the next
};

// T tokens and P panels; leaf i's sums are left at sums[((i * T + t) * P + p) * 16].
template <class W, int T, int P>
HWY_NOINLINE void DotPanels(const Panels& panels, const LeafSchedule& schedule,
                            const Tokens& tokens, float* sums) {
  const Int8Rows& x = *tokens.x;
  const int64_t first_group = schedule.leaves.front().begin / kInt8Group;
  for (const Range leaf : schedule.leaves) {
    const Range groups = GroupsOf(leaf);
    const float* panel = panels.first + (groups.begin - first_group) * kPanelGroupFloats<W>;
    Lanes sum[T][P];
    for (int t = 0; t < T; ++t) {
      for (int p = 0; p < P; ++p) sum[t][p] = ZeroLanes();
    }
    for (int64_t group = groups.begin; group < groups.end; ++group) {
      IntLanes dot[T][P];
      for (int t = 0; t < T; ++t) {
        const VI first = FirstSum<W>(x, tokens.At(t, group));
        for (int p = 0; p < P; ++p) {
          for (VI& part : dot[t][p].part) part = first;
        }
      }
      for (int j = 0; j < 8; ++j) {
        ByteLanes weights[P];
        for (int p = 0; p < P; ++p) {
          weights[p] =
              LoadByteLanes(reinterpret_cast<const uint8_t*>(panel + p * panels.stride + 16 * j));
        }
        for (int t = 0; t < T; ++t) {
          const VI quad = LoadQuad(tokens.Values(t, group) + 4 * j);
          for (int p = 0; p < P; ++p) Dot4<W::kBits>(weights[p], quad, dot[t][p]);
        }
      }
      for (int p = 0; p < P; ++p) {
        const float* ends = panel + p * panels.stride + 128;
        const Lanes scales = LoadLanes(ends);
        Lanes minima;
        if constexpr (W::kMinima) minima = LoadLanes(ends + 16);
        for (int t = 0; t < T; ++t) {
          AddGroup<W>(dot[t][p], scales, minima, x, tokens.At(t, group), sum[t][p]);
        }
      }
      panel += kPanelGroupFloats<W>;
    }
    for (int t = 0; t < T; ++t) {
      for (int p = 0; p < P; ++p) StoreLanes(sum[t][p], sums + (t * P + p) * 16);
    }
    sums += T * P * 16;
  }
}

template <class W, int T>
void DotPanelTokens(int64_t count, const Panels& panels, const LeafSchedule& schedule,
                    const Tokens& tokens, float* sums) {
  if constexpr (T > 1) {
    if (count < T) return DotPanelTokens<W, T - 1>(count, panels, schedule, tokens, sums);
  }
  DotPanels<W, T, kTilePanels>(panels, schedule, tokens, sums);
}

template <class W>
void MultiplyPanels(const Int8LinearArgs& args, Range outputs, Scratch& scratch) {
  const std::vector<Range>& leaves = args.schedule->leaves;
  const Range groups =
      GroupsOf({leaves.front().begin + args.w_offset, leaves.back().end + args.w_offset});
  constexpr int64_t kTileOutputs = kTilePanels * kInt8Outputs;
  const int64_t stride = groups.size() * kPanelGroupFloats<W>;
  float* panel = scratch.Floats(kTilePanels * stride +
                                static_cast<int64_t>(leaves.size()) * kTileTokens * kTileOutputs);
  float* sums = panel + kTilePanels * stride;
  const int64_t tiles = (args.x.rows + kTileTokens - 1) / kTileTokens;
  for (int64_t first = outputs.begin; first < outputs.end; first += kTileOutputs) {
    for (int64_t p = 0; p < kTilePanels; ++p) {
      RowPointers rows;
      PointAtRows<W>(args, first + p * kInt8Outputs, rows);
      FillPanel<W>(rows, groups, panel + p * stride);
    }
    for (int64_t tile = 0; tile < tiles; ++tile) {
      const Range range{args.x.rows * tile / tiles, args.x.rows * (tile + 1) / tiles};
      DotPanelTokens<W, kTileTokens>(range.size(), {panel, stride}, *args.schedule,
                                     {&args.x, range.begin}, sums);
      SumLeaves(*args.schedule, range.size() * kTileOutputs, sums);
      for (int64_t t = 0; t < range.size(); ++t) {
        for (int64_t p = 0; p < kTilePanels; ++p) {
          const int64_t output = first + p * kInt8Outputs;
          if (output >= outputs.end) break;
          CopyOutputs(sums + (t * kTilePanels + p) * kInt8Outputs,
                      std::min(kInt8Outputs, outputs.end - output),
                      args.out.row_as<float>(range.begin + t) + output);
        }
      }
    }
  }
}

}  // namespace

void LinearInt8(const Int8LinearArgs& args, Range outputs, Scratch& scratch) {
  WithGroups(args.w.dtype, [&](auto reader) {
    using W = decltype(reader);
    if (args.x.rows <= kMaxDirectTokens) {
      MultiplyDirect<W>(args, outputs, scratch);
    } else {
      MultiplyPanels<W>(args, outputs, scratch);
    }
  });
}

#endif
}  // namespace trireme::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
