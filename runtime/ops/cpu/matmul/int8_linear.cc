// Linear in integers. Few tokens: a group of 16 rows is transposed in registers and met by each
// token. More: some groups of two such tiles are laid out in the first-level cache, and met by tile
// after tile of tokens.
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
#include "runtime/ops/cpu/matmul/int8_k_groups-inl.h"
#include "runtime/ops/cpu/matmul/prefetch.h"
#include "runtime/ops/int8_group.h"

TRI_BEFORE_INT8();
namespace trireme::cpu::HWY_NAMESPACE {
#if TRI_CPU_KERNELS
namespace {

constexpr int kMaxDirectTokens = kParts == 1 ? 4 : 2;
// A tile's accumulators are 2 × tokens × panels registers (integers and floats), of 32 of 512 bits
// or 16 of 256.
constexpr int kTileTokens = kParts == 1 ? 4 : 2;
constexpr int kTilePanels = kParts == 1 ? 2 : 1;
constexpr int64_t kTileOutputs = kTilePanels * kInt8Outputs;
// Groups that are laid out together: with the tokens' they stay in the first-level cache.
constexpr int64_t kChunkGroups = 8;
// Sums of leaves stay in a part of the second-level cache.
constexpr int64_t kMostSums = 64 * 1024;

// What the integers of part `half` of a token's group begin with, so that the offset of the weights
// is undone.
template <class Form>
HWY_INLINE VI FirstSum(const Int8Rows& x, int64_t at, int half, int offset_bits) {
  if constexpr (Form::kMinima) return hn::Zero(DI());
  const int32_t* counters = x.counters + 2 * at;
  const int32_t counter = Form::kHalves == 2 ? counters[half] : counters[0] + counters[1];
  return hn::Set(DI(), counter * (1 << offset_bits));
}

// sum = fma(float(dot), d of weights * d of the token, sum).
HWY_INLINE void AddDot(const IntLanes& dot, const Lanes& scales, float d, Lanes& sum) {
  const VF scale = hn::Set(DF(), d);
  for (int i = 0; i < kParts; ++i) {
    sum.part[i] =
        hn::MulAdd(hn::ConvertTo(DF(), dot.part[i]), hn::Mul(scales.part[i], scale), sum.part[i]);
  }
}

// sum = fma(m of weights, d * (q[0] + …) of the token, sum).
HWY_INLINE void AddMinimum(const Lanes& minima, float total, Lanes& sum) {
  const VF factor = hn::Set(DF(), total);
  for (int i = 0; i < kParts; ++i) {
    sum.part[i] = hn::MulAdd(minima.part[i], factor, sum.part[i]);
  }
}

Range GroupsOf(Range columns) { return {columns.begin / kInt8Group, columns.end / kInt8Group}; }

// Adds leaves of n sums each, the totals are left in the first.
void SumLeaves(const LeafSchedule& schedule, int64_t n, float* sums) {
  for (const SumStep& step : schedule.steps) {
    float* into = sums + step.into * n;
    const float* from = sums + step.from * n;
    for (int64_t i = 0; i < n; i += kWidth) {
      hn::StoreU(hn::Add(hn::LoadU(DF(), into + i), hn::LoadU(DF(), from + i)), DF(), into + i);
    }
  }
}

// 16 rows of weights that end with the outputs [outputs). Where there are fewer in the matrix, the
// same one 16 times.
struct OutputTile {
  StridedRows rows;
  int64_t skip;  // outputs before the tile's first wanted one
  Range outputs;
};

OutputTile TileAt(const Int8LinearArgs& args, Range wanted) {
  const int64_t all = args.w.rows();
  OutputTile tile{.outputs = wanted};
  int64_t first = wanted.begin;
  if (all < kInt8Outputs) {
    tile.rows.stride = 0;
  } else {
    first = std::min(first, all - kInt8Outputs);
    tile.rows.stride = args.w.row_stride_bytes;
  }
  tile.skip = wanted.begin - first;
  tile.rows.first = reinterpret_cast<const uint8_t*>(args.w.row(first));
  return tile;
}

// Outputs that a tile gives at once.
int64_t OutputsAtOnce(const Int8LinearArgs& args, int64_t most) {
  return args.w.rows() < kInt8Outputs ? 1 : most;
}

HWY_INLINE void CopyOutputs(const float* sums, int64_t valid, float* to) {
  if (valid == kInt8Outputs) {
    StoreLanes(LoadLanes(sums), to);
  } else {
    std::copy_n(sums, valid, to);
  }
}

// ── Few tokens.

// A group of a token, by two chains of products, each of which takes several cycles to be added: a
// half of the group each.
template <class W>
HWY_INLINE void AddGroup(const GroupTile& tile, const Int8Rows& x, int64_t at, Lanes& sum) {
  using Form = typename W::Form;
  const int8_t* values = x.values + at * kInt8Group;
  IntLanes first;
  IntLanes second;
  for (VI& part : first.part) part = FirstSum<Form>(x, at, 0, W::kOffsetBits);
  for (VI& part : second.part) {
    part = Form::kHalves == 2 ? FirstSum<Form>(x, at, 1, W::kOffsetBits) : hn::Zero(DI());
  }
  for (int j = 0; j < 4; ++j) {
    Dot4<Form::kBits>(tile.quads[j], LoadQuad(values + 4 * j), first);
    Dot4<Form::kBits>(tile.quads[4 + j], LoadQuad(values + 16 + 4 * j), second);
  }
  if constexpr (Form::kHalves == 2) {
    AddDot(first, tile.scales[0], x.scales[at], sum);
    AddDot(second, tile.scales[1], x.scales[at], sum);
  } else {
    for (int i = 0; i < kParts; ++i) first.part[i] = hn::Add(first.part[i], second.part[i]);
    AddDot(first, tile.scales[0], x.scales[at], sum);
  }
  if constexpr (Form::kMinima) AddMinimum(tile.minima, x.sums[at], sum);
}

// 16 rows and T tokens; leaf i's sums are left at sums[(i * T + t) * 16].
template <class W, int T>
HWY_NOINLINE void DotRows(const StridedRows& rows, const RowLayout& layout,
                          const Int8LinearArgs& args, int64_t first_token, float* sums) {
  Prefetcher<kInt8Outputs * W::kGroupBytes> prefetcher(rows.first, layout);
  const Int8Rows& x = args.x;
  const int64_t ahead = args.w_offset / kInt8Group;
  W reader;
  for (const Range leaf : args.schedule->leaves) {
    const Range groups = GroupsOf(leaf);
    Lanes sum[T];
    for (Lanes& each : sum) each = ZeroLanes();
    for (int64_t group = groups.begin; group < groups.end; ++group) {
      prefetcher.Next();
      GroupTile tile;
      reader.Load(rows, group + ahead, tile);
      for (int t = 0; t < T; ++t) {
        AddGroup<W>(tile, x, (first_token + t) * x.groups + group, sum[t]);
      }
    }
    for (int t = 0; t < T; ++t) StoreLanes(sum[t], sums + 16 * t);
    sums += 16 * T;
  }
}

template <class W, int T>
void DotTokens(int64_t count, const StridedRows& rows, const RowLayout& layout,
               const Int8LinearArgs& args, int64_t first_token, float* sums) {
  if constexpr (T > 1) {
    if (count < T) return DotTokens<W, T - 1>(count, rows, layout, args, first_token, sums);
  }
  DotRows<W, T>(rows, layout, args, first_token, sums);
}

template <class W>
RowLayout LayoutOf(const Int8LinearArgs& args, int64_t at_once) {
  const std::vector<Range>& leaves = args.schedule->leaves;
  const Range used =
      GroupsOf({leaves.front().begin + args.w_offset, leaves.back().end + args.w_offset});
  return RowLayout::Of(args.w.row_stride_bytes,
                       {used.begin * W::kGroupBytes, used.end * W::kGroupBytes}, at_once);
}

template <class W>
void MultiplyDirect(const Int8LinearArgs& args, Range outputs, Scratch& scratch) {
  const auto leaves = static_cast<int64_t>(args.schedule->leaves.size());
  float* sums = scratch.Floats(leaves * kMaxDirectTokens * kInt8Outputs);
  const RowLayout layout = LayoutOf<W>(args, kInt8Outputs);
  const int64_t step = OutputsAtOnce(args, kInt8Outputs);
  for (int64_t first = outputs.begin; first < outputs.end; first += step) {
    const OutputTile tile = TileAt(args, {first, std::min(first + step, outputs.end)});
    const int64_t tokens = args.x.rows;
    DotTokens<W, kMaxDirectTokens>(tokens, tile.rows, layout, args, 0, sums);
    SumLeaves(*args.schedule, tokens * kInt8Outputs, sums);
    for (int64_t t = 0; t < tokens; ++t) {
      CopyOutputs(sums + t * kInt8Outputs + tile.skip, tile.outputs.size(),
                  args.out.row_as<float>(t) + first);
    }
  }
}

// ── More tokens. A panel has 16 outputs, group after group: eight vectors, scales and minima.

template <class Form>
constexpr int64_t kGroupFloats = 128 + 16 * (Form::kHalves + (Form::kMinima ? 1 : 0));
template <class Form>
constexpr int64_t kPanelFloats = kChunkGroups* kGroupFloats<Form>;

template <class W>
using TilePrefetcher = Prefetcher<kTileOutputs * W::kGroupBytes>;

// Asks for what comes a tile later with the first panel of each group.
template <class W>
HWY_NOINLINE void FillPanel(const StridedRows& rows, Range groups, TilePrefetcher<W>* prefetcher,
                            float* panel) {
  using Form = typename W::Form;
  W reader;
  for (int64_t group = groups.begin; group < groups.end; ++group) {
    if (prefetcher != nullptr) prefetcher->Next();
    GroupTile tile;
    reader.Load(rows, group, tile);
    for (int j = 0; j < 8; ++j) {
      StoreByteLanes(tile.quads[j], reinterpret_cast<uint8_t*>(panel + 16 * j));
    }
    for (int h = 0; h < Form::kHalves; ++h) StoreLanes(tile.scales[h], panel + 128 + 16 * h);
    if constexpr (Form::kMinima) StoreLanes(tile.minima, panel + 144);
    panel += kGroupFloats<Form>;
  }
}

// What is laid out of two panels: groups of one leaf.
struct Chunk {
  const float* panels;
  Range groups;  // of the tokens
  bool begins;   // the leaf
  int offset_bits;
};

// T tokens from the first, and all panels: added to sums[(t * kTilePanels + p) * 16].
template <class Form, int T>
HWY_NOINLINE void DotChunk(const Chunk& chunk, const Int8Rows& x, int64_t first_token,
                           float* sums) {
  constexpr int P = kTilePanels;
  constexpr int kQuads = 8 / Form::kHalves;
  Lanes sum[T][P];
  for (int t = 0; t < T; ++t) {
    for (int p = 0; p < P; ++p) {
      sum[t][p] = chunk.begins ? ZeroLanes() : LoadLanes(sums + (t * P + p) * 16);
    }
  }
  const float* panel = chunk.panels;
  int64_t index = first_token * x.groups + chunk.groups.begin;
  for (int64_t group = chunk.groups.begin; group < chunk.groups.end; ++group, ++index) {
    const int8_t* values = x.values + index * kInt8Group;
    for (int half = 0; half < Form::kHalves; ++half) {
      IntLanes dot[T][P];
      for (int t = 0; t < T; ++t) {
        const VI first = FirstSum<Form>(x, index + t * x.groups, half, chunk.offset_bits);
        for (int p = 0; p < P; ++p) {
          for (VI& part : dot[t][p].part) part = first;
        }
      }
      for (int j = half * kQuads; j < (half + 1) * kQuads; ++j) {
        ByteLanes weights[P];
        for (int p = 0; p < P; ++p) {
          const float* from = panel + p * kPanelFloats<Form> + 16 * j;
          weights[p] = LoadByteLanes(reinterpret_cast<const uint8_t*>(from));
        }
        for (int t = 0; t < T; ++t) {
          const VI quad = LoadQuad(values + t * x.groups * kInt8Group + 4 * j);
          for (int p = 0; p < P; ++p) Dot4<Form::kBits>(weights[p], quad, dot[t][p]);
        }
      }
      for (int p = 0; p < P; ++p) {
        const Lanes scales = LoadLanes(panel + p * kPanelFloats<Form> + 128 + 16 * half);
        for (int t = 0; t < T; ++t) {
          AddDot(dot[t][p], scales, x.scales[index + t * x.groups], sum[t][p]);
        }
      }
    }
    if constexpr (Form::kMinima) {
      for (int p = 0; p < P; ++p) {
        const Lanes minima = LoadLanes(panel + p * kPanelFloats<Form> + 144);
        for (int t = 0; t < T; ++t) {
          AddMinimum(minima, x.sums[index + t * x.groups], sum[t][p]);
        }
      }
    }
    panel += kGroupFloats<Form>;
  }
  for (int t = 0; t < T; ++t) {
    for (int p = 0; p < P; ++p) StoreLanes(sum[t][p], sums + (t * P + p) * 16);
  }
}

template <class Form, int T>
void DotChunkTokens(int64_t count, const Chunk& chunk, const Int8Rows& x, int64_t first_token,
                    float* sums) {
  if constexpr (T > 1) {
    if (count < T) return DotChunkTokens<Form, T - 1>(count, chunk, x, first_token, sums);
  }
  DotChunk<Form, T>(chunk, x, first_token, sums);
}

// Tokens [batch) and a tile of outputs, with room for `panels` and the leaves' sums.
template <class W>
void MultiplyTile(const Int8LinearArgs& args, const OutputTile (&tile)[kTilePanels], Range batch,
                  float* panels) {
  using Form = typename W::Form;
  float* const all_sums = panels + kTilePanels * kPanelFloats<Form>;
  TilePrefetcher<W> prefetcher(tile[0].rows.first, LayoutOf<W>(args, kTileOutputs));
  const int64_t tiles = (batch.size() + kTileTokens - 1) / kTileTokens;
  const int64_t ahead = args.w_offset / kInt8Group;
  float* sums = all_sums;
  for (const Range leaf : args.schedule->leaves) {
    const Range groups = GroupsOf(leaf);
    for (int64_t first = groups.begin; first < groups.end; first += kChunkGroups) {
      const Chunk chunk{panels,
                        {first, std::min(first + kChunkGroups, groups.end)},
                        first == groups.begin,
                        W::kOffsetBits};
      for (int p = 0; p < kTilePanels; ++p) {
        FillPanel<W>(tile[p].rows, {first + ahead, chunk.groups.end + ahead},
                     p == 0 ? &prefetcher : nullptr, panels + p * kPanelFloats<Form>);
      }
      for (int64_t i = 0; i < tiles; ++i) {
        const Range tokens{batch.size() * i / tiles, batch.size() * (i + 1) / tiles};
        DotChunkTokens<Form, kTileTokens>(tokens.size(), chunk, args.x, batch.begin + tokens.begin,
                                          sums + tokens.begin * kTileOutputs);
      }
    }
    if (groups.empty()) std::fill_n(sums, batch.size() * kTileOutputs, 0.0f);
    sums += batch.size() * kTileOutputs;
  }
  SumLeaves(*args.schedule, batch.size() * kTileOutputs, all_sums);
  for (int64_t t = 0; t < batch.size(); ++t) {
    for (int p = 0; p < kTilePanels; ++p) {
      const Range outputs = tile[p].outputs;
      CopyOutputs(all_sums + t * kTileOutputs + p * kInt8Outputs + tile[p].skip, outputs.size(),
                  args.out.row_as<float>(batch.begin + t) + outputs.begin);
    }
  }
}

template <class W>
void MultiplyPanels(const Int8LinearArgs& args, Range outputs, Scratch& scratch) {
  const auto leaves = static_cast<int64_t>(args.schedule->leaves.size());
  const int64_t most = std::max<int64_t>(kTileTokens, kMostSums / (leaves * kTileOutputs));
  const int64_t batches = (args.x.rows + most - 1) / most;
  const int64_t batch_size = std::min(most, args.x.rows);
  float* panels = scratch.Floats(kTilePanels * kPanelFloats<typename W::Form> +
                                 leaves * batch_size * kTileOutputs);
  const int64_t step = OutputsAtOnce(args, kInt8Outputs);
  for (int64_t first = outputs.begin; first < outputs.end; first += step * kTilePanels) {
    OutputTile tile[kTilePanels];
    for (int p = 0; p < kTilePanels; ++p) {
      const int64_t begin = std::min(first + p * step, outputs.end - 1);
      tile[p] = TileAt(args, {begin, std::min(begin + step, outputs.end)});
    }
    for (int64_t i = 0; i < batches; ++i) {
      MultiplyTile<W>(args, tile, {args.x.rows * i / batches, args.x.rows * (i + 1) / batches},
                      panels);
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
