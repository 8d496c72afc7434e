// Linear and LinearLeaves. Two ways to the same bits:
//
// - few tokens (decode): the weights are read once and decoded in registers, several rows at a
// time, so that
//   the chains of FMAs are independent and their latency is hidden; memory bandwidth is the limit.
// - many tokens (prefill, batches): a panel of rows is decoded to fp32 in the thread's scratch once
// and
//   then multiplied with tile after tile of tokens; the FMA units are the limit.
//
// A tile is kRows weight rows × T tokens; each (row, token) has its own 16 lanes, so neither the
// tile's shape nor the batch can change a result.
#include <algorithm>
#include <type_traits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/ops/cpu/matmul.cc"
#include "runtime/ops/cpu/targets.h"
// Highway re-includes this file once a target; order matters.
#include "hwy/foreach_target.h"
#include "runtime/ops/cpu/decode-inl.h"
#include "runtime/ops/cpu/kernels.h"
#include "runtime/ops/cpu/lanes-inl.h"
#include "runtime/ops/cpu/matmul/prefetch.h"
#include "runtime/ops/cpu/weights-inl.h"

HWY_BEFORE_NAMESPACE();
namespace trireme::cpu::HWY_NAMESPACE {
#if TRI_CPU_KERNELS
namespace {

// Rows are handled in groups (the last one repeats its last row and drops the copies).
constexpr int kRows = kParts == 1 ? 8 : 4;
// Accumulators that fit the registers: 32 of 512 bits hold tiles of 8 × 3 and 4 × 6, 16 of 256 bits
// those of 4 × 1 and 2 × 3.
constexpr int kMaxTileTokens = kParts == 1 ? 6 : 3;
constexpr int kMaxDirectTokens = kParts == 1 ? 4 : 2;
// Rows that run through the inner loop together.
constexpr int RowsAtOnce(int tokens) {
  if (kParts == 1) return tokens <= 3 ? 8 : 4;
  return tokens == 1 ? 4 : 2;
}
// A panel stays within half of a usual second-level cache.
constexpr int64_t kPanelFloats = 128 * 1024;

template <class W>
constexpr int64_t kUnitBytes = W::kBlockBytes / W::kUnitsPerBlock;

// Rows of a panel: fp32, and in the cache already.
struct PanelWeights : F32Weights {};

// A group of weight rows; column c of x meets column c + offset.
struct RowGroup {
  const uint8_t* row[kRows];
  int64_t offset;
  RowLayout layout;
  const float* scales;  // [kRows] factors of every leaf's Dot; nullptr for none
};

// Up to kMaxTileTokens rows of x.
struct TokenGroup {
  const float* row[kMaxTileTokens];
};

// Walks the units of R rows and has their scales at hand. They are converted a chunk ahead: what
// was just stored can be broadcast from memory only after the store has retired, and waiting for
// that took a fifth of the time.
template <class W, int R>
class ScaleStream {
 public:
  // Units [units) will be asked for, in order.
  HWY_INLINE ScaleStream(const uint8_t* const (&rows)[R], Range units)
      : rows_(rows),
        end_(units.end),
        next_{units.begin, W::template ChunkEnd<R>(units.begin, end_)} {
    if (units.begin < end_) W::template Prepare<R>(rows_, next_, scales_[turn_ ^ 1]);
  }

  // Scales of the first row; those of the others follow at W::kScaleStride.
  HWY_INLINE const float* At(int64_t unit) {
    if (W::template kSingle<R> || unit == next_.begin) {
      chunk_ = next_;
      next_ = {chunk_.end, W::template ChunkEnd<R>(chunk_.end, end_)};
      if (chunk_.end < end_) W::template Prepare<R>(rows_, next_, scales_[turn_]);
      turn_ ^= 1;
    }
    return scales_[turn_] + W::template ScaleIndex<R>(chunk_, unit);
  }

 private:
  const uint8_t* const (&rows_)[R];
  const int64_t end_;
  Range chunk_;
  Range next_;
  int turn_ = 0;
  HWY_ALIGN float scales_[2][kScaleFloats<R>];
};

// What one unit of R rows adds to T tokens; column k of x meets the unit's first.
template <class W, int T, int R>
HWY_INLINE void MulAddUnit(const uint8_t* const (&rows)[R], int64_t unit, const float* scales,
                           const TokenGroup& x, int64_t k, Lanes (&sum)[R][T]) {
  constexpr int kPieces = static_cast<int>(W::kUnit / 16);
  for (int r = 0; r < R; ++r) {
    Lanes weights[kPieces];
    W::Decode(rows[r], unit, scales + r * W::template kScaleStride<R>, weights);
    for (int piece = 0; piece < kPieces; ++piece) {
      for (int t = 0; t < T; ++t) {
        MulAdd(weights[piece], LoadLanes(x.row[t] + k + 16 * piece), sum[r][t]);
      }
    }
  }
}

template <int T, int R>
HWY_INLINE void FoldRows(const Lanes (&sum)[R][T], float* sums) {
  for (int t = 0; t < T; ++t) {
    float* to = sums + t * kRows;
    if constexpr (R == 2) {
      const hn::Half<D4> d2;
      const V4 totals = Fold(sum[0][t], sum[1][t], sum[0][t], sum[1][t]);
      hn::StoreU(hn::LowerHalf(d2, totals), d2, to);
    } else {
      for (int r = 0; r < R; r += 4) {
        hn::StoreU(Fold(sum[r][t], sum[r + 1][t], sum[r + 2][t], sum[r + 3][t]), D4(), to + r);
      }
    }
  }
}

// Dots of every leaf for R rows from `first_row` and T tokens; those of leaf i begin at
// sums[(i * T + t) * kRows].
template <class W, int T, int R>
HWY_INLINE void DotRows(const RowGroup& w, int first_row, const TokenGroup& x,
                        const std::vector<Range>& leaves, float* sums) {
  constexpr bool kBlocks = W::kElementBytes == 0;
  const uint8_t* rows[R];
  for (int r = 0; r < R; ++r) rows[r] = w.row[first_row + r];
  const Range units = kBlocks ? Range{(leaves.front().begin + w.offset) / W::kUnit,
                                      (leaves.back().end + w.offset) / W::kUnit}
                              : Range{};
  ScaleStream<W, R> scales(rows, units);
  Prefetcher<R * kUnitBytes<W>> prefetcher(rows[0], w.layout);
  for (const Range leaf : leaves) {
    Lanes sum[R][T];
    for (int r = 0; r < R; ++r) {
      for (int t = 0; t < T; ++t) sum[r][t] = ZeroLanes();
    }
    const int64_t begin = leaf.begin + w.offset;
    if constexpr (!kBlocks) {
      for (int r = 0; r < R; ++r) rows[r] = w.row[first_row + r] + begin * W::kElementBytes;
    }
    int64_t unit = kBlocks ? begin / W::kUnit : 0;
    const int64_t end = unit + leaf.size() / W::kUnit;
    int64_t k = leaf.begin;
    if (unit < end) {
      do {
        if constexpr (T <= kMaxDirectTokens && !std::is_same_v<W, PanelWeights>) {
          prefetcher.Next();
        }
        MulAddUnit<W, T, R>(rows, unit, scales.At(unit), x, k, sum);
        k += W::kUnit;
      } while (++unit < end);
    }
    if constexpr (!kBlocks) {
      if (const int64_t left = leaf.size() % 16; left != 0) {
        const int64_t done = leaf.size() - left;
        for (int r = 0; r < R; ++r) {
          const Lanes weights = DecodeTail<W>(rows[r] + done * W::kElementBytes, left);
          for (int t = 0; t < T; ++t) MulAdd(weights, LoadLanes(x.row[t] + k, left), sum[r][t]);
        }
      }
    }
    FoldRows<T, R>(sum, sums + first_row);
    sums += T * kRows;
  }
}

template <int T>
HWY_INLINE void ScaleSums(const float* scales, float* sums) {
  for (int t = 0; t < T; ++t) {
    for (int r = 0; r < kRows; r += 4) {
      float* to = sums + t * kRows + r;
      hn::StoreU(hn::Mul(hn::LoadU(D4(), to), hn::LoadU(D4(), scales + r)), D4(), to);
    }
  }
}

// All leaves and their tree; the totals are left in sums[t * kRows + r].
template <class W, int T>
HWY_NOINLINE void DotTile(const RowGroup& w, const TokenGroup& x, const LeafSchedule& schedule,
                          float* sums) {
  constexpr int64_t kLeafFloats = T * kRows;
  constexpr int kAtOnce = RowsAtOnce(T);
  for (int first = 0; first < kRows; first += kAtOnce) {
    DotRows<W, T, kAtOnce>(w, first, x, schedule.leaves, sums);
  }
  if (w.scales != nullptr) {
    for (size_t leaf = 0; leaf < schedule.leaves.size(); ++leaf) {
      ScaleSums<T>(w.scales, sums + static_cast<int64_t>(leaf) * kLeafFloats);
    }
  }
  for (const SumStep& step : schedule.steps) {
    float* into = sums + step.into * kLeafFloats;
    const float* from = sums + step.from * kLeafFloats;
    for (int64_t i = 0; i < kLeafFloats; i += 4) {
      hn::StoreU(hn::Add(hn::LoadU(D4(), into + i), hn::LoadU(D4(), from + i)), D4(), into + i);
    }
  }
}

template <class W, int T>
void DotTokens(int64_t tokens, const RowGroup& w, const TokenGroup& x, const LeafSchedule& schedule,
               float* sums) {
  if constexpr (T > 1) {
    if (tokens < T) return DotTokens<W, T - 1>(tokens, w, x, schedule, sums);
  }
  DotTile<W, T>(w, x, schedule, sums);
}

// Where the weights of a tile come from: rows of the matrix itself, or of the panel.
struct RowSource {
  const uint8_t* data;
  RowLayout layout;
  int64_t rows;
  int64_t offset;
  const float* scales;  // of the rows, padded to whole groups; nullptr for none

  RowGroup Group(int64_t first) const {
    RowGroup group;
    group.offset = offset;
    group.layout = layout;
    group.scales = scales == nullptr ? nullptr : scales + first;
    for (int64_t r = 0; r < kRows; ++r) {
      group.row[r] = data + std::min(first + r, rows - 1) * layout.stride_bytes;
    }
    return group;
  }
};

// A whole group is copied without a call: it happens for every few hundred multiplications.
HWY_INLINE void CopySums(const float* sums, int64_t valid, float* to) {
  if (valid == kRows) {
    for (int r = 0; r < kRows; r += 4) hn::StoreU(hn::LoadU(D4(), sums + r), D4(), to + r);
  } else {
    std::copy_n(sums, valid, to);
  }
}

// All tokens against rows of `source`; outputs start at column `first_output`.
template <class W, int kMaxTokens>
void MultiplyRows(const LinearArgs& args, const RowSource& source, int64_t first_output,
                  float* sums) {
  const int64_t tokens = args.out.rows();
  const int64_t tiles = (tokens + kMaxTokens - 1) / kMaxTokens;
  for (int64_t tile = 0; tile < tiles; ++tile) {
    // Tiles of near equal size: 7 tokens are 4 + 3, not 6 + 1.
    const Range range{tokens * tile / tiles, tokens * (tile + 1) / tiles};
    TokenGroup x = {};
    for (int64_t t = 0; t < range.size(); ++t) {
      x.row[t] = args.x.template row_as<float>(range.begin + t);
    }
    for (int64_t row = 0; row < source.rows; row += kRows) {
      DotTokens<W, kMaxTokens>(range.size(), source.Group(row), x, *args.schedule, sums);
      const int64_t valid = std::min<int64_t>(kRows, source.rows - row);
      for (int64_t t = 0; t < range.size(); ++t) {
        float* to = args.out.template row_as<float>(range.begin + t) + first_output + row;
        CopySums(sums + t * kRows, valid, to);
      }
    }
  }
}

// True when every leaf begins and ends on a unit, so that weights can be decoded in registers.
template <class W>
bool LeavesOnUnits(const LinearArgs& args) {
  if (W::kElementBytes > 0) return true;
  return std::all_of(args.schedule->leaves.begin(), args.schedule->leaves.end(), [&](Range leaf) {
    return (leaf.begin + args.w_offset) % W::kUnit == 0 && leaf.size() % W::kUnit == 0;
  });
}

const uint8_t* WeightRow(const LinearArgs& args, int64_t row) {
  return reinterpret_cast<const uint8_t*>(args.w.row(row));
}

template <class W>
RowLayout LayoutOf(const LinearArgs& args) {
  const auto bytes = [](int64_t columns) {
    return W::kElementBytes > 0 ? columns * W::kElementBytes : columns / W::kUnit * kUnitBytes<W>;
  };
  const int64_t first = bytes(args.schedule->leaves.front().begin + args.w_offset);
  const int64_t end = bytes(args.schedule->leaves.back().end + args.w_offset);
  return RowLayout::Of(args.w.row_stride_bytes, {first, end}, kRows);
}

int64_t ScaleFloats(const LinearArgs& args, Range outputs) {
  return args.scales.empty() ? 0 : (outputs.size() + 15) / 16 * 16;
}

// Sixteen outputs, or what is left of them, of an input-major matrix to rows of a panel.
template <class W>
void DecodeOutputs(const LinearArgs& args, Range outputs, Range inputs, float* panel,
                   int64_t stride) {
  HWY_ALIGN float tile[16 * 16];
  const auto load = [&](int64_t k) HWY_ATTR {
    const auto* row = reinterpret_cast<const uint8_t*>(args.w.row(k));
    const uint8_t* from = row + outputs.begin * W::kElementBytes;
    if (outputs.size() < 16) return DecodeTail<W>(from, outputs.size());
    Lanes lanes;
    W::Decode(from, 0, nullptr, &lanes);
    return lanes;
  };
  for (int64_t k = 0; k < inputs.size(); k += 16) {
    const int64_t count = std::min<int64_t>(16, inputs.size() - k);
    for (int64_t i = 0; i < count; ++i) StoreLanes(load(inputs.begin + k + i), tile + 16 * i);
    for (int64_t i = count; i < 16; ++i) StoreLanes(ZeroLanes(), tile + 16 * i);
    for (int64_t n = 0; n < outputs.size(); ++n) {
      for (int64_t i = 0; i < 16; ++i) panel[n * stride + k + i] = tile[16 * i + n];
    }
  }
}

template <class W>
void DecodePanel(const LinearArgs& args, Range outputs, Range columns, float* panel,
                 int64_t stride) {
  if (!args.input_major) {
    for (int64_t r = 0; r < outputs.size(); ++r) {
      DecodeColumns<W>(WeightRow(args, outputs.begin + r), columns, panel + r * stride);
    }
    return;
  }
  if constexpr (W::kElementBytes > 0) {
    for (int64_t r = 0; r < outputs.size(); r += 16) {
      const int64_t first = outputs.begin + r;
      DecodeOutputs<W>(args, {first, std::min(first + 16, outputs.end)}, columns,
                       panel + r * stride, stride);
    }
  }
}

template <class W>
void MultiplyPanels(const LinearArgs& args, Range outputs, Scratch& scratch) {
  const std::vector<Range>& leaves = args.schedule->leaves;
  Range columns{leaves.front().begin + args.w_offset, leaves.back().end + args.w_offset};
  int64_t offset = args.w_offset - columns.begin;
  if constexpr (W::kElementBytes == 0) {
    const int64_t early = columns.begin % W::kUnit;
    offset += early;
    columns = {columns.begin - early, (columns.end + W::kUnit - 1) / W::kUnit * W::kUnit};
  }
  const int64_t stride = (columns.size() + 15) / 16 * 16;
  const int64_t panel_rows = std::max<int64_t>(kRows, kPanelFloats / stride / kRows * kRows);
  const auto sums_size = static_cast<int64_t>(leaves.size()) * kRows * kMaxTileTokens;
  const int64_t panel_size = std::min(panel_rows, outputs.size()) * stride;
  float* panel = scratch.Floats(panel_size + sums_size + ScaleFloats(args, outputs));
  float* sums = panel + panel_size;
  const float* scales = DecodeScales(args.scales, outputs, sums + sums_size);
  for (int64_t first = outputs.begin; first < outputs.end; first += panel_rows) {
    const int64_t count = std::min(panel_rows, outputs.end - first);
    DecodePanel<W>(args, {first, first + count}, columns, panel, stride);
    const int64_t row_bytes = stride * static_cast<int64_t>(sizeof(float));
    const RowSource source{reinterpret_cast<const uint8_t*>(panel),
                           {row_bytes, 0, row_bytes, 0},
                           count,
                           offset,
                           scales == nullptr ? nullptr : scales + (first - outputs.begin)};
    MultiplyRows<PanelWeights, kMaxTileTokens>(args, source, first, sums);
  }
}

template <class W, int kMaxTokens>
void MultiplyDirect(const LinearArgs& args, Range outputs, Scratch& scratch) {
  const auto leaves = static_cast<int64_t>(args.schedule->leaves.size());
  const int64_t sums_size = leaves * kRows * kMaxTileTokens;
  float* sums = scratch.Floats(sums_size + ScaleFloats(args, outputs));
  const RowSource source{WeightRow(args, outputs.begin), LayoutOf<W>(args), outputs.size(),
                         args.w_offset, DecodeScales(args.scales, outputs, sums + sums_size)};
  MultiplyRows<W, kMaxTokens>(args, source, outputs.begin, sums);
}

}  // namespace

void Linear(const LinearArgs& args, Range outputs, Scratch& scratch) {
  WithWeights(args.w.dtype, [&](auto reader) {
    using W = decltype(reader);
    if (args.input_major) {
      MultiplyPanels<W>(args, outputs, scratch);
    } else if constexpr (std::is_same_v<W, F32Weights>) {
      MultiplyDirect<W, kMaxTileTokens>(args, outputs, scratch);
    } else if (args.out.rows() <= kMaxDirectTokens && LeavesOnUnits<W>(args)) {
      MultiplyDirect<W, kMaxDirectTokens>(args, outputs, scratch);
    } else {
      MultiplyPanels<W>(args, outputs, scratch);
    }
  });
}

#endif
}  // namespace trireme::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
