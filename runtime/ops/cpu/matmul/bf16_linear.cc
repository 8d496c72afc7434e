#include <algorithm>

#include "runtime/ops/cpu/kernels.h"
#include "runtime/ops/cpu/matmul/bf16.h"
#include "runtime/ops/cpu/matmul/bf16_vectors.h"

namespace trireme::cpu {

Bf16Tiling::Bf16Tiling(int64_t tokens) : tokens_(tokens) {
  const int64_t rest = tokens % 16;
  vectors_ = tokens / 16 + (rest > 8 ? 1 : 0);
  wide_ = (vectors_ + 2) / 3;
  narrow_width_ = rest == 0 || rest > 8 ? 0 : rest > 4 ? 8 : 4;
}

Bf16Tile Bf16Tiling::At(int64_t index) const {
  if (index == wide_) return {{vectors_ * 16, tokens_}, narrow_width_, vectors_ * 16};
  // Tiles of near equal width: four vectors are 2 + 2, not 3 + 1.
  const int64_t begin = vectors_ * index / wide_ * 16;
  const int64_t end = vectors_ * (index + 1) / wide_ * 16;
  return {{begin, std::min(end, tokens_)}, end - begin, begin};
}

int64_t Bf16Rows::PairsOf(const LeafSchedule& schedule) {
  int64_t units = 0;
  for (const Range leaf : schedule.leaves) units += (leaf.size() + kBf16Unit - 1) / kBf16Unit;
  return units * kBf16Unit / 2;
}

#if TRI_BF16_KERNELS
TRI_BF16_BEGIN
namespace {

constexpr int64_t kPairs = kBf16Unit / 2;  // of a unit
// Rows of weights that are multiplied together where the lanes are tokens. More would be no faster,
// and rows a power of two apart compete for the few ways of the first-level cache.
constexpr int kRows = 8;
constexpr int64_t kMaxWidth = 48;
// Columns of a leaf that are multiplied before the next rows are: what a tile of activations holds
// of them stays in half of a usual second-level cache.
constexpr int64_t kBlock = 2048;
// Rows that all tiles pass before the next rows, and their sums, stay in the other half.
constexpr int64_t kChunkBytes = 256 * 1024;
constexpr int64_t kSumBytes = 128 * 1024;

const uint16_t* WeightRow(const Bf16LinearArgs& args, int64_t row) {
  return reinterpret_cast<const uint16_t*>(args.w.row(row));
}

// kCount rows from `first`, at the first column of a leaf. The last row stands in for those beyond.
template <int kCount>
struct RowGroup {
  const uint16_t* row[kCount];
  int64_t ahead;  // elements to the rows that are multiplied next

  // Leaves may be as short as a head, so this is made often: no multiplication a row.
  RowGroup(const Bf16LinearArgs& args, int64_t first, int64_t column) {
    const int64_t last = args.w.rows() - 1;
    const uint16_t* at = WeightRow(args, std::min(first, last)) + column;
    for (int64_t r = 0; r < kCount; ++r) {
      row[r] = at;
      if (first + r < last) at += args.w.row_stride_bytes / 2;
    }
    ahead = kCount * args.w.row_stride_bytes / 2;
  }
  void Prefetch(int64_t column) const {
    for (int r = 0; r < kCount; ++r) __builtin_prefetch(row[r] + column + ahead, 0, 2);
  }
};

// ── Lanes are tokens.

// sum[r][v] += the unit at `column` of each row, with the tokens' pairs at x.
template <class S, int V>
inline __attribute__((always_inline)) void AddUnit(const uint16_t* const (&row)[kRows],
                                                   int64_t column, const uint32_t* x,
                                                   typename S::Sum (&sum)[kRows][V]) {
#pragma GCC unroll 16
  for (int pair = 0; pair < kPairs; ++pair) {
    typename S::Pair tokens[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) tokens[v] = S::Load(x + (pair * V + v) * S::kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const typename S::Pair weights = S::Broadcast(row[r] + column + 2 * pair);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sum[r][v] = S::Dot(weights, tokens[v], sum[r][v]);
    }
  }
}

// `columns` of kRows rows with the tokens' pairs from x on: sums[r][lane], continued unless first.
template <class S, int V>
__attribute__((noinline)) void MultiplyRows(const RowGroup<kRows>& w, int64_t columns,
                                            const uint32_t* x, bool first, float* sums) {
  constexpr int64_t kWidth = V * S::kLanes;
  typename S::Sum sum[kRows][V];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      sum[r][v] = first ? S::Zero() : S::LoadSum(sums + r * kWidth + v * S::kLanes);
    }
  }
  int64_t column = 0;
  for (; column + kBf16Unit <= columns; column += kBf16Unit, x += kPairs * kWidth) {
    w.Prefetch(column);
    AddUnit<S, V>(w.row, column, x, sum);
  }
  if (column < columns) {
    alignas(64) uint16_t padded[kRows][kBf16Unit] = {};
    const uint16_t* row[kRows];
    for (int r = 0; r < kRows; ++r) {
      std::copy(w.row[r] + column, w.row[r] + columns, padded[r]);
      row[r] = padded[r];
    }
    AddUnit<S, V>(row, 0, x, sum);
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) S::Store(sum[r][v], sums + r * kWidth + v * S::kLanes);
  }
}

// Sums of one leaf: sums[row][lane] of rows [rows).
template <class S, int V>
void MultiplyLeaf(const Bf16LinearArgs& args, Range rows, Range leaf, const uint32_t* x,
                  float* sums) {
  constexpr int64_t kWidth = V * S::kLanes;
  if (leaf.empty()) std::fill_n(sums, rows.size() * kWidth, 0.0f);
  for (int64_t column = leaf.begin; column < leaf.end; column += kBlock) {
    const int64_t columns = std::min(kBlock, leaf.end - column);
    const uint32_t* block = x + (column - leaf.begin) / 2 * kWidth;
    for (int64_t row = rows.begin; row < rows.end; row += kRows) {
      MultiplyRows<S, V>(RowGroup<kRows>(args, row, column + args.w_offset), columns, block,
                         column == leaf.begin, sums + (row - rows.begin) * kWidth);
    }
  }
}

// ── Lanes are rows of weights.

// `columns` of 16 rows with T tokens: sums[t * stride + row].
template <int T>
__attribute__((noinline)) void MultiplyTokens(const RowGroup<16>& w, int64_t columns,
                                              const uint32_t* x, int64_t stride, float* sums) {
  Vector16::Sum sum[T];
  for (int t = 0; t < T; ++t) sum[t] = Vector16::Zero();
  for (int64_t column = 0; column < columns; column += kBf16Unit) {
    w.Prefetch(column);
    const auto mask = MaskOfFirst32(columns - column);
    Vector16::Pair weights[16];
#pragma GCC unroll 16
    for (int r = 0; r < 16; ++r) {
      weights[r] = _mm512_maskz_loadu_epi16(mask, w.row[r] + column);
    }
    Transpose(weights);
#pragma GCC unroll 16
    for (int pair = 0; pair < kPairs; ++pair) {
#pragma GCC unroll 4
      for (int t = 0; t < T; ++t) {
        sum[t] = Vector16::Dot(weights[pair], Vector16::Broadcast(x + pair * 4 + t), sum[t]);
      }
    }
    x += kPairs * 4;
  }
  for (int t = 0; t < T; ++t) Vector16::Store(sum[t], sums + t * stride);
}

template <int T>
void MultiplyLeafOfTokens(const Bf16LinearArgs& args, Range rows, Range leaf, const uint32_t* x,
                          float* sums) {
  for (int64_t row = rows.begin; row < rows.end; row += 16) {
    MultiplyTokens<T>(RowGroup<16>(args, row, leaf.begin + args.w_offset), leaf.size(), x,
                      rows.size(), sums + (row - rows.begin));
  }
}

// ── Both.

using MultiplyLeafFunction = void (*)(const Bf16LinearArgs& args, Range rows, Range leaf,
                                      const uint32_t* x, float* sums);

MultiplyLeafFunction FunctionOf(const Bf16Tile& tile) {
  static constexpr MultiplyLeafFunction kOfTokens[] = {
      MultiplyLeafOfTokens<1>, MultiplyLeafOfTokens<2>, MultiplyLeafOfTokens<3>,
      MultiplyLeafOfTokens<4>};
  static constexpr MultiplyLeafFunction kOfVectors[] = {
      MultiplyLeaf<Vector16, 1>, MultiplyLeaf<Vector16, 2>, MultiplyLeaf<Vector16, 3>};
  if (tile.width == 4) return kOfTokens[tile.tokens.size() - 1];
  return tile.width == 8 ? MultiplyLeaf<Vector8, 1> : kOfVectors[tile.width / 16 - 1];
}

// The tree over leaves; sums of a leaf are `count` floats, a multiple of 16.
void AddLeaves(const LeafSchedule& schedule, int64_t count, float* sums) {
  for (const SumStep& step : schedule.steps) {
    float* into = sums + step.into * count;
    const float* from = sums + step.from * count;
    for (int64_t i = 0; i < count; i += 16) {
      _mm512_storeu_ps(into + i,
                       _mm512_add_ps(_mm512_loadu_ps(into + i), _mm512_loadu_ps(from + i)));
    }
  }
}

// Sums of rows [rows) (whole groups of 16, of which the last rows may be no outputs) to `out`.
void Write(const Bf16Tile& tile, Range rows, const float* sums, const TensorView& out) {
  for (int64_t first = rows.begin; first < rows.end; first += 16) {
    const auto mask = MaskOfFirst16(out.columns() - first);
    const float* from = sums + (first - rows.begin) * (tile.width == 4 ? 1 : tile.width);
    for (int64_t t = 0; t < tile.tokens.size(); t += 16) {
      Vector16::Pair lanes[16];
      if (tile.width == 4) {
        for (int64_t i = 0; i < tile.tokens.size(); ++i) {
          lanes[i] = _mm512_loadu_si512(from + i * rows.size());
        }
      } else {
        const auto held = MaskOfFirst16(tile.width - t);
        for (int64_t r = 0; r < 16; ++r) {
          lanes[r] = _mm512_maskz_loadu_epi32(held, from + r * tile.width + t);
        }
        Transpose(lanes);
      }
      for (int64_t i = 0; i < std::min<int64_t>(16, tile.tokens.size() - t); ++i) {
        _mm512_mask_storeu_epi32(out.row_as<float>(tile.tokens.begin + t + i) + first, mask,
                                 lanes[i]);
      }
    }
  }
}

int64_t ChunkRows(const Bf16LinearArgs& args) {
  if (Bf16Tiling(args.x.tokens).count() == 1) return kBf16Outputs;
  const auto leaves = static_cast<int64_t>(args.schedule->leaves.size());
  const int64_t by_weights = kChunkBytes / (args.x.pairs * 4);
  const int64_t by_sums = kSumBytes / (leaves * kMaxWidth * 4);
  return std::max(kBf16Outputs, std::min(by_weights, by_sums) / kBf16Outputs * kBf16Outputs);
}

void Linear(const Bf16LinearArgs& args, Range outputs, Scratch& scratch) {
  const std::vector<Range>& leaves = args.schedule->leaves;
  const Bf16Tiling tiling(args.x.tokens);
  const int64_t chunk = ChunkRows(args);
  float* sums = scratch.Floats(static_cast<int64_t>(leaves.size()) * chunk * kMaxWidth);
  const int64_t end = (outputs.end + kBf16Outputs - 1) / kBf16Outputs * kBf16Outputs;
  for (int64_t first = outputs.begin; first < end; first += chunk) {
    const Range rows{first, std::min(first + chunk, end)};
    for (int64_t i = 0; i < tiling.count(); ++i) {
      const Bf16Tile tile = tiling.At(i);
      const MultiplyLeafFunction multiply = FunctionOf(tile);
      const int64_t leaf_sums = rows.size() * tile.width;
      const uint32_t* x = args.x.Tile(tile);
      float* to = sums;
      for (const Range leaf : leaves) {
        multiply(args, rows, leaf, x, to);
        x += (leaf.size() + kBf16Unit - 1) / kBf16Unit * kPairs * tile.width;
        to += leaf_sums;
      }
      AddLeaves(*args.schedule, leaf_sums, sums);
      Write(tile, rows, sums, args.out);
    }
  }
}

// Up to 32 values from `from` as a unit.
inline Vector16::Pair RoundUnit(const float* from, int64_t count) {
  const __m512 low = _mm512_maskz_loadu_ps(MaskOfFirst16(count), from);
  const __m512 high = _mm512_maskz_loadu_ps(MaskOfFirst16(count - 16), from + 16);
  return Vector16::Round(low, high);
}

// 16 pairs of each lane of `tile` from `lane` on, to words that step by the tile's width.
void LayOut(const Bf16Tile& tile, Vector16::Pair (&pairs)[16], int64_t lane, uint32_t* words) {
  if (tile.width > 4) {
    const auto mask = MaskOfFirst16(tile.width);
    Transpose(pairs);
    for (int64_t p = 0; p < kPairs; ++p) {
      _mm512_mask_storeu_epi32(words + p * tile.width + lane, mask, pairs[p]);
    }
    return;
  }
  // Four pairs of up to four tokens fill a vector: each token's go to every fourth word.
  auto source = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
  for (int64_t p = 0; p < kPairs; p += 4) {
    auto four = _mm512_setzero_si512();
    for (int64_t t = 0; t < tile.tokens.size(); ++t) {
      four = _mm512_mask_permutexvar_epi32(four, static_cast<__mmask16>(0x1111 << t), source,
                                           pairs[t]);
    }
    _mm512_storeu_si512(words + p * 4, four);
    source = _mm512_add_epi32(source, _mm512_set1_epi32(4));
  }
}

void Round(const ConstTensorView& x, const LeafSchedule& schedule, const Bf16Rows& to,
           Range tiles) {
  for (int64_t i = tiles.begin; i < tiles.end; ++i) {
    const Bf16Tile tile = Bf16Tiling(to.tokens).At(i);
    uint32_t* words = to.Tile(tile);
    for (const Range leaf : schedule.leaves) {
      for (int64_t k = leaf.begin; k < leaf.end; k += kBf16Unit, words += kPairs * tile.width) {
        for (int64_t lane = 0; lane < tile.width; lane += 16) {
          const int64_t tokens = std::min<int64_t>(16, tile.tokens.size() - lane);
          Vector16::Pair pairs[16] = {};
          for (int64_t t = 0; t < tokens; ++t) {
            pairs[t] = RoundUnit(x.row_as<float>(tile.tokens.begin + lane + t) + k, leaf.end - k);
          }
          LayOut(tile, pairs, lane, words);
        }
      }
    }
  }
}

}  // namespace
TRI_BF16_END

Bf16Kernels SupportedBf16Kernels() {
  if (!__builtin_cpu_supports("avx512bf16")) return {};
  return {.round = Round, .linear = Linear, .linear_input_major = LinearBf16InputMajor};
}
#else
Bf16Kernels SupportedBf16Kernels() { return {}; }
#endif

}  // namespace trireme::cpu
