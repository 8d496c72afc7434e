// Linear over a matrix stored [k, outputs], for few tokens: what a routed expert of a fused
// checkpoint sees in decoding. The sixteen lanes of Dot are kept for a tile of outputs in the
// cache, and each row of the matrix is added to the lane of its k, so that memory is read in the
// order in which it lies. (With many tokens it pays to transpose panels: matmul.cc.)
#include <algorithm>
#include <cstdint>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/ops/cpu/matmul_input_major.cc"
#include "runtime/ops/cpu/targets.h"
// Highway re-includes this file once a target; order matters.
#include "hwy/foreach_target.h"
#include "runtime/ops/cpu/decode-inl.h"
#include "runtime/ops/cpu/kernels.h"
#include "runtime/ops/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace trireme::cpu::HWY_NAMESPACE {
#if TRI_CPU_KERNELS
namespace {

// Outputs of a tile: 2 KB of a row in bf16, and 64 KB of lanes a token.
constexpr int64_t kTile = 1024;
// Rows of one lane that are added while the lane is in registers.
constexpr int64_t kRowsAtOnce = 4;
constexpr int64_t kRowBlock = 16 * kRowsAtOnce;
// How many lanes ahead rows are asked for.
constexpr int64_t kLanesAhead = 2;

template <int R>
struct RowSet {
  const uint8_t* row[R];
  const uint8_t* ahead[R];
  const float* x[R];  // [T] the tokens' inputs that meet the row
};

// acc[t] += x[r][t] * row[r], r ascending, for `outputs` columns of a lane of each token.
template <class W, int T, int R>
HWY_INLINE void AddRows(const RowSet<R>& rows, int64_t outputs, float* const (&acc)[T]) {
  VF x[R][T];
  for (int r = 0; r < R; ++r) {
    for (int t = 0; t < T; ++t) x[r][t] = hn::Set(DF(), rows.x[r][t]);
  }
  const auto add = [&](const Lanes(&weights)[R], int64_t n) HWY_ATTR {
    for (int t = 0; t < T; ++t) {
      Lanes sum = LoadLanes(acc[t] + n);
      for (int r = 0; r < R; ++r) {
        for (int p = 0; p < kParts; ++p) {
          sum.part[p] = hn::MulAdd(x[r][t], weights[r].part[p], sum.part[p]);
        }
      }
      StoreLanes(sum, acc[t] + n);
    }
  };
  constexpr int64_t kLine = 64 / W::kElementBytes;  // values of a cache line
  int64_t n = 0;
  for (; n + kLine <= outputs; n += kLine) {
    for (int r = 0; r < R; ++r) {
      __builtin_prefetch(rows.ahead[r] + n * W::kElementBytes, 0, 2);
    }
    for (int64_t i = n; i < n + kLine; i += 16) {
      Lanes weights[R];
      for (int r = 0; r < R; ++r) W::Decode(rows.row[r], i / 16, nullptr, &weights[r]);
      add(weights, i);
    }
  }
  for (; n < outputs; n += 16) {
    Lanes weights[R];
    const int64_t left = std::min<int64_t>(16, outputs - n);
    for (int r = 0; r < R; ++r) {
      weights[r] = DecodeTail<W>(rows.row[r] + n * W::kElementBytes, left);
    }
    add(weights, n);
  }
}

// A tile of outputs of `T` tokens from `first_token`; memory for its lanes and sums.
struct Tile {
  Range outputs;
  int64_t first_token = 0;
  float* lanes = nullptr;   // [T, 16, kTile]
  float* inputs = nullptr;  // [kRowBlock + lanes ahead, T]
};

// Adds rows [k, k + kRowBlock) of a leaf, or as many as it has.
template <class W, int T>
void AddBlock(const LinearArgs& args, const Tile& tile, Range leaf, int64_t k) {
  const int64_t count = std::min(kRowBlock, leaf.end - k);
  for (int64_t i = 0; i < count; ++i) {
    for (int t = 0; t < T; ++t) {
      tile.inputs[i * T + t] = args.x.row_as<float>(tile.first_token + t)[k + i];
    }
  }
  const auto row_at = [&](int64_t i) {
    const int64_t row = std::min(k + args.w_offset + i, args.w.rows() - 1);
    return reinterpret_cast<const uint8_t*>(args.w.row(row)) +
           tile.outputs.begin * W::kElementBytes;
  };
  const int64_t outputs = tile.outputs.size();
  for (int64_t lane = 0; lane < std::min<int64_t>(16, count); ++lane) {
    float* acc[T];
    for (int t = 0; t < T; ++t) acc[t] = tile.lanes + (t * 16 + lane) * kTile;
    const int64_t later = lane + kLanesAhead;
    const int64_t ahead = later / 16 * kRowBlock + later % 16;
    if (lane + 16 * (kRowsAtOnce - 1) < count) {
      RowSet<kRowsAtOnce> rows;
      for (int64_t r = 0; r < kRowsAtOnce; ++r) {
        rows.row[r] = row_at(lane + 16 * r);
        rows.ahead[r] = row_at(ahead + 16 * r);
        rows.x[r] = tile.inputs + (lane + 16 * r) * T;
      }
      AddRows<W, T, kRowsAtOnce>(rows, outputs, acc);
      continue;
    }
    for (int64_t i = lane; i < count; i += 16) {
      const RowSet<1> rows{{row_at(i)}, {row_at(ahead)}, {tile.inputs + i * T}};
      AddRows<W, T, 1>(rows, outputs, acc);
    }
  }
}

// The lanes of one token, folded in the order of Dot; `padded` lanes from the last were given a
// zero product last, as the tail of Dot is.
void FoldLanes(const float* lanes, int64_t padded, int64_t outputs, float* out) {
  for (int64_t n = 0; n < outputs; n += kWidth) {
    VF sum[16];
    for (int64_t i = 0; i < 16; ++i) {
      sum[i] = hn::LoadU(DF(), lanes + i * kTile + n);
      if (i >= 16 - padded) sum[i] = hn::Add(sum[i], hn::Zero(DF()));
    }
    for (int width = 8; width >= 1; width /= 2) {
      for (int i = 0; i < width; ++i) sum[i] = hn::Add(sum[i], sum[i + width]);
    }
    hn::StoreU(sum[0], DF(), out + n);
  }
}

HWY_INLINE void Multiply(const float* factors, int64_t count, float* values) {
  for (int64_t n = 0; n < count; n += kWidth) {
    hn::StoreU(hn::Mul(hn::LoadU(DF(), values + n), hn::LoadU(DF(), factors + n)), DF(),
               values + n);
  }
}

// All leaves of a tile, and their tree. sums: [leaves, T, kTile].
template <class W, int T>
void MultiplyTile(const LinearArgs& args, const Tile& tile, const float* scales, float* sums) {
  const int64_t outputs = tile.outputs.size();
  const std::vector<Range>& leaves = args.schedule->leaves;
  for (size_t i = 0; i < leaves.size(); ++i) {
    std::fill_n(tile.lanes, T * 16 * kTile, 0.0f);
    for (int64_t k = leaves[i].begin; k < leaves[i].end; k += kRowBlock) {
      AddBlock<W, T>(args, tile, leaves[i], k);
    }
    const int64_t tail = leaves[i].size() % 16;
    for (int64_t t = 0; t < T; ++t) {
      float* to = sums + (static_cast<int64_t>(i) * T + t) * kTile;
      FoldLanes(tile.lanes + t * 16 * kTile, tail == 0 ? 0 : 16 - tail, outputs, to);
      if (scales != nullptr) Multiply(scales, outputs, to);
    }
  }
  for (const SumStep& step : args.schedule->steps) {
    float* into = sums + step.into * T * kTile;
    const float* from = sums + step.from * T * kTile;
    for (int64_t n = 0; n < T * kTile; n += kWidth) {
      hn::StoreU(hn::Add(hn::LoadU(DF(), into + n), hn::LoadU(DF(), from + n)), DF(), into + n);
    }
  }
  for (int t = 0; t < T; ++t) {
    std::copy_n(sums + t * kTile, outputs,
                args.out.template row_as<float>(tile.first_token + t) + tile.outputs.begin);
  }
}

template <class W, int T>
void MultiplyTokens(int64_t tokens, const LinearArgs& args, const Tile& tile, const float* scales,
                    float* sums) {
  if constexpr (T > 1) {
    if (tokens < T) return MultiplyTokens<W, T - 1>(tokens, args, tile, scales, sums);
  }
  MultiplyTile<W, T>(args, tile, scales, sums);
}

template <class W>
void MultiplyTiles(const LinearArgs& args, Range outputs, Scratch& scratch) {
  constexpr int64_t kTokens = 4;
  constexpr int64_t kLaneFloats = kTokens * 16 * kTile;
  constexpr int64_t kInputFloats = kTokens * kRowBlock;
  const auto leaves = static_cast<int64_t>(args.schedule->leaves.size());
  float* lanes = scratch.Floats(kLaneFloats + kInputFloats + (leaves * kTokens + 1) * kTile);
  float* inputs = lanes + kLaneFloats;
  float* scale_memory = inputs + kInputFloats;
  float* sums = scale_memory + kTile;
  // Tiles of near equal size, on cache lines of the matrix.
  const int64_t tiles = (outputs.size() + kTile - 1) / kTile;
  const int64_t per_tile = ((outputs.size() + tiles - 1) / tiles + 63) / 64 * 64;
  for (int64_t begin = outputs.begin; begin < outputs.end; begin += per_tile) {
    const Range range{begin, std::min(begin + per_tile, outputs.end)};
    const float* scales = DecodeScales(args.scales, range, scale_memory);
    for (int64_t t = 0; t < args.out.rows(); t += kTokens) {
      const Tile tile{range, t, lanes, inputs};
      MultiplyTokens<W, kTokens>(std::min(kTokens, args.out.rows() - t), args, tile, scales, sums);
    }
  }
}

}  // namespace

void LinearInputMajor(const LinearArgs& args, Range outputs, Scratch& scratch) {
  WithWeights(args.w.dtype, [&](auto reader) {
    using W = decltype(reader);
    if constexpr (W::kElementBytes > 0) {
      MultiplyTiles<W>(args, outputs, scratch);
    } else {
      TRI_CHECK(false) << "input-major matrices have no blocks";
    }
  });
}

#endif
}  // namespace trireme::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
