// BF16 products over a matrix stored [k, outputs], as fused checkpoints have their experts. The
// lanes are outputs: two rows of the matrix, interleaved, are the pairs of 16 outputs, and a pair
// of a token is broadcast. Sums of a tile of outputs stay in the cache while the rows go by, so
// that memory is read in pieces of rows as long as the tile.
#include <algorithm>

#include "runtime/ops/cpu/kernels.h"
#include "runtime/ops/cpu/matmul/bf16.h"
#include "runtime/ops/cpu/matmul/bf16_vectors.h"

namespace trireme::cpu {
#if TRI_BF16_KERNELS
TRI_BF16_BEGIN
namespace {

// Rows that are added while a sum is in registers.
constexpr int kPairsAtOnce = 4;
constexpr int64_t kRowsAtOnce = 2 * kPairsAtOnce;
// Outputs of two vectors, which are a cache line of a row.
constexpr int64_t kLine = 32;
constexpr int64_t kMaxTile = 512;
constexpr int64_t kSumBytes = 48 * 1024;  // of a leaf
constexpr int64_t kRowsAhead = 16;

// Outputs of a line, in the order that interleaving leaves them in: of the low and of the high
// halves of each 16 bytes.
struct LineSums {
  float low[16];
  float high[16];
};

// kRowsAtOnce rows.
struct Rows {
  const uint16_t* first;  // at the tile's first output
  int64_t stride;         // elements
  int64_t valid;          // rows from this on are zeros
};

inline void Interleave(const Rows& rows, int64_t output, __mmask32 columns,
                       Vector16::Pair (&low)[kPairsAtOnce], Vector16::Pair (&high)[kPairsAtOnce]) {
#pragma GCC unroll 4
  for (int p = 0; p < kPairsAtOnce; ++p) {
    Vector16::Pair row[2];
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
      const int64_t r = 2 * p + i;
      const uint16_t* from = rows.first + r * rows.stride + output;
      __builtin_prefetch(from + kRowsAhead * rows.stride, 0, 2);
      row[i] = _mm512_maskz_loadu_epi16(r < rows.valid ? columns : 0, from);
    }
    low[p] = _mm512_unpacklo_epi16(row[0], row[1]);
    high[p] = _mm512_unpackhi_epi16(row[0], row[1]);
  }
}

// Adds kRowsAtOnce rows to the sums [token][line] of a tile of `outputs`.
void AddRows(const Rows& rows, int64_t outputs, const uint32_t* x, const Bf16Tile& tile,
             LineSums* sums) {
  const int64_t lines = (outputs + kLine - 1) / kLine;
  for (int64_t line = 0; line < lines; ++line) {
    Vector16::Pair low[kPairsAtOnce];
    Vector16::Pair high[kPairsAtOnce];
    Interleave(rows, line * kLine, MaskOfFirst32(outputs - line * kLine), low, high);
    for (int64_t t = 0; t < tile.tokens.size(); ++t) {
      LineSums& sum = sums[t * lines + line];
      Vector16::Sum a = Vector16::LoadSum(sum.low);
      Vector16::Sum b = Vector16::LoadSum(sum.high);
#pragma GCC unroll 4
      for (int p = 0; p < kPairsAtOnce; ++p) {
        const Vector16::Pair pair = Vector16::Broadcast(x + p * tile.width + t);
        a = Vector16::Dot(low[p], pair, a);
        b = Vector16::Dot(high[p], pair, b);
      }
      Vector16::Store(a, sum.low);
      Vector16::Store(b, sum.high);
    }
  }
}

void MultiplyLeaf(const Bf16LinearArgs& args, Range outputs, Range leaf, const uint32_t* x,
                  const Bf16Tile& tile, LineSums* sums) {
  const int64_t stride = args.w.row_stride_bytes / 2;
  for (int64_t k = leaf.begin; k < leaf.end; k += kBf16Unit) {
    for (int64_t row = k; row < k + kBf16Unit; row += kRowsAtOnce) {
      const auto* first =
          reinterpret_cast<const uint16_t*>(args.w.data) + (row + args.w_offset) * stride;
      AddRows({first + outputs.begin, stride, leaf.end - row}, outputs.size(), x, tile, sums);
      x += kPairsAtOnce * tile.width;
    }
  }
}

void AddLeaves(const LeafSchedule& schedule, int64_t count, LineSums* sums) {
  for (const SumStep& step : schedule.steps) {
    float* into = sums[step.into * count].low;
    const float* from = sums[step.from * count].low;
    for (int64_t i = 0; i < count * kLine; i += 16) {
      _mm512_storeu_ps(into + i,
                       _mm512_add_ps(_mm512_loadu_ps(into + i), _mm512_loadu_ps(from + i)));
    }
  }
}

void Write(const LineSums* sums, const Bf16Tile& tile, Range outputs, const TensorView& out) {
  const __m512i first = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
  const __m512i second = _mm512_add_epi32(first, _mm512_set1_epi32(8));
  for (int64_t t = tile.tokens.begin; t < tile.tokens.end; ++t) {
    for (int64_t n = outputs.begin; n < outputs.end; n += kLine, ++sums) {
      float* to = out.row_as<float>(t) + n;
      const auto low = Vector16::LoadSum(sums->low);
      const auto high = Vector16::LoadSum(sums->high);
      const int64_t left = outputs.end - n;
      _mm512_mask_storeu_ps(to, MaskOfFirst16(left), _mm512_permutex2var_ps(low, first, high));
      if (left <= 16) continue;
      _mm512_mask_storeu_ps(to + 16, MaskOfFirst16(left - 16),
                            _mm512_permutex2var_ps(low, second, high));
    }
  }
}

}  // namespace

void LinearBf16InputMajor(const Bf16LinearArgs& args, Range outputs, Scratch& scratch) {
  const std::vector<Range>& leaves = args.schedule->leaves;
  const Bf16Tiling tiling(args.x.tokens);
  const int64_t tokens = std::min<int64_t>(args.x.tokens, 48);
  const int64_t size = std::clamp(kSumBytes / (tokens * 4) / kLine * kLine, kLine, kMaxTile);
  const int64_t leaf_floats = tokens * size;
  auto* sums = reinterpret_cast<LineSums*>(
      scratch.Floats(static_cast<int64_t>(leaves.size()) * leaf_floats));
  for (int64_t begin = outputs.begin; begin < outputs.end; begin += size) {
    const Range part{begin, std::min(begin + size, outputs.end)};
    const int64_t lines = (part.size() + kLine - 1) / kLine;
    for (int64_t i = 0; i < tiling.count(); ++i) {
      const Bf16Tile tile = tiling.At(i);
      const int64_t count = tile.tokens.size() * lines;
      const uint32_t* x = args.x.Tile(tile);
      std::fill_n(sums->low, static_cast<int64_t>(leaves.size()) * count * kLine, 0.0f);
      LineSums* to = sums;
      for (const Range leaf : leaves) {
        MultiplyLeaf(args, part, leaf, x, tile, to);
        x += (leaf.size() + kBf16Unit - 1) / kBf16Unit * (kBf16Unit / 2) * tile.width;
        to += count;
      }
      AddLeaves(*args.schedule, count, sums);
      Write(sums, tile, part, args.out);
    }
  }
}
TRI_BF16_END
#endif
}  // namespace trireme::cpu
