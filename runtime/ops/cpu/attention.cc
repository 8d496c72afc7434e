// Attention over pages, and StoreKv. A tile is a few rows of one sequence and the query heads that
// share a KV head: keys and values of a chunk are brought to fp32 once and used by all of them.
// Each (row, head) keeps its own softmax state and sees its own range of keys, so a tile's shape
// never changes a result.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/ops/cpu/attention.cc"
#include "runtime/ops/cpu/targets.h"
// Highway re-includes this file once a target; order matters.
#include "hwy/foreach_target.h"
#include "runtime/ops/cpu/exp-inl.h"
#include "runtime/ops/cpu/kernels.h"
#include "runtime/ops/cpu/lanes-inl.h"
#include "runtime/ops/cpu/weights-inl.h"
#include "runtime/ops/scalar_math.h"

HWY_BEFORE_NAMESPACE();
namespace trireme::cpu::HWY_NAMESPACE {
#if TRI_CPU_KERNELS
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// Index of the row of `pages` that holds `position` of `sequence` for one KV head.
int64_t PageRow(const TensorView& pages, const RowIndex& rows, int32_t sequence, int64_t position,
                int64_t kv_head) {
  const int64_t page_tokens = pages.shape[2];
  const int64_t first = rows.page_offsets[static_cast<size_t>(sequence)];
  const int64_t index = rows.chunk == 0 ? position : position % rows.chunk;
  const int64_t page = rows.pages[static_cast<size_t>(first + index / page_tokens)];
  return (page * pages.shape[1] + kv_head) * page_tokens + index % page_tokens;
}

// 32 values as a block of Q8_0.
HWY_INLINE void StoreQ8Block(const float* from, uint8_t* block) {
  const Lanes values[2] = {LoadLanes(from), LoadLanes(from + 16)};
  // Magnitudes compare like their bits, NaN above all.
  VI largest = hn::Zero(DI());
  for (const Lanes& half : values) {
    for (const VF& part : half.part) largest = hn::Max(largest, hn::BitCast(DI(), hn::Abs(part)));
  }
  const int32_t bits = hn::GetLane(hn::MaxOfLanes(DI(), largest));
  const Q8Scale scale = ScaleOfQ8(std::bit_cast<float>(bits));
  std::memcpy(block, &scale.half, sizeof scale.half);
  auto* q = reinterpret_cast<int8_t*>(block + 2);
  if (scale.inverse == 0) {
    std::fill_n(q, 32, int8_t{0});
    return;
  }
  const VF inverse = hn::Set(DF(), scale.inverse);
  const VF bound = hn::Set(DF(), 127.0f);
  const hn::Rebind<int8_t, DF> d8;
  for (const Lanes& half : values) {
    for (const VF& part : half.part) {
      const VF held = hn::Clamp(hn::Mul(part, inverse), hn::Neg(bound), bound);
      hn::StoreU(hn::DemoteTo(d8, hn::NearestInt(held)), d8, q);
      q += kWidth;
    }
  }
}

void StoreRow(const float* from, TensorView pages, int64_t row, int64_t head_dim) {
  if (pages.dtype == DType::kF32) {
    std::copy_n(from, head_dim, pages.row_as<float>(row));
    return;
  }
  if (pages.dtype == DType::kQ8_0) {
    auto* block = pages.row_as<uint8_t>(row);
    for (int64_t d = 0; d < head_dim; d += 32, block += Q8_0Weights::kBlockBytes) {
      StoreQ8Block(from + d, block);
    }
    return;
  }
  TRI_CHECK(pages.dtype == DType::kF16) << "pages are F32, F16 or Q8_0, not " << Name(pages.dtype);
  auto* to = pages.row_as<hwy::float16_t>(row);
  ForEachVector(head_dim, [=](auto d, int64_t i) HWY_ATTR {
    const hn::Rebind<hwy::float16_t, decltype(d)> d16;
    hn::StoreU(hn::DemoteTo(d16, hn::LoadU(d, from + i)), d16, to + i);
  });
}

// A row of a page as fp32, zero-padded to `padded` (a multiple of 16): in place where it can be,
// else copied.
const float* LoadRow(const TensorView& pages, int64_t row, int64_t padded, float* copy) {
  const int64_t head_dim = pages.columns();
  if (pages.dtype == DType::kF32) {
    const float* from = pages.row_as<float>(row);
    if (head_dim == padded) return from;
    std::copy_n(from, head_dim, copy);
  } else if (pages.dtype == DType::kQ8_0) {
    const auto* block = pages.row_as<const uint8_t>(row);
    for (int64_t d = 0; d < head_dim; d += 32, block += Q8_0Weights::kBlockBytes) {
      Lanes values[2];
      Q8_0Weights::DecodeBy(LoadScale(block), block, values);
      StoreLanes(values[0], copy + d);
      StoreLanes(values[1], copy + d + 16);
    }
  } else {
    const auto* from = pages.row_as<hwy::float16_t>(row);
    ForEachVector(head_dim, [=](auto d, int64_t i) HWY_ATTR {
      const hn::Rebind<hwy::float16_t, decltype(d)> d16;
      hn::StoreU(hn::PromoteTo(d, hn::LoadU(d16, from + i)), d, copy + i);
    });
  }
  std::fill(copy + head_dim, copy + padded, 0.0f);
  return copy;
}

// One (row, query head) on its way through the chunks.
struct Softmax {
  Range keys;  // positions it sees
  float maximum = kMinusInfinity;
  float sum = 0;
};

// The rows of a chunk, by position - chunk begin.
struct Chunk {
  const float* k[kKeyChunk];
  const float* v[kKeyChunk];
  int64_t padded;  // values in a row
};

// scores[j] = Dot(q, k[j]) * scale for j in `keys`; elsewhere -inf.
HWY_INLINE void Score(const float* q, const Chunk& chunk, Range keys, float scale, float* scores) {
  for (int64_t j = 0; j < kKeyChunk; j += kWidth) {
    hn::Store(hn::Set(DF(), kMinusInfinity), DF(), scores + j);
  }
  for (int64_t j = keys.begin; j < keys.end; j += 4) {
    const float* k[4];
    for (int64_t i = 0; i < 4; ++i) k[i] = chunk.k[std::min(j + i, keys.end - 1)];
    Lanes sum[4] = {ZeroLanes(), ZeroLanes(), ZeroLanes(), ZeroLanes()};
    for (int64_t d = 0; d < chunk.padded; d += 16) {
      const Lanes query = LoadLanes(q + d);
      for (int i = 0; i < 4; ++i) MulAdd(query, LoadLanes(k[i] + d), sum[i]);
    }
    const V4 four = hn::Mul(Fold(sum[0], sum[1], sum[2], sum[3]), hn::Set(D4(), scale));
    if (j + 4 <= keys.end) {
      hn::StoreU(four, D4(), scores + j);
    } else {
      HWY_ALIGN float some[4];
      hn::Store(four, D4(), some);
      std::copy_n(some, keys.end - j, scores + j);
    }
  }
}

// o = o * decay, then o = fma(p[j], v[j], o) for j ascending, for L * 16 values from `d`.
template <int L>
HWY_INLINE void Accumulate(const Chunk& chunk, const float* p, Range keys, float decay, int64_t d,
                           float* out) {
  Lanes o[L];
  const VF factor = hn::Set(DF(), decay);
  for (int i = 0; i < L; ++i) {
    o[i] = LoadLanes(out + d + 16 * i);
    for (VF& part : o[i].part) part = hn::Mul(part, factor);
  }
  for (int64_t j = keys.begin; j < keys.end; ++j) {
    const VF weight = hn::Set(DF(), p[j]);
    const float* v = chunk.v[j] + d;
    for (int i = 0; i < L; ++i) {
      const Lanes values = LoadLanes(v + 16 * i);
      for (int part = 0; part < kParts; ++part) {
        o[i].part[part] = hn::MulAdd(weight, values.part[part], o[i].part[part]);
      }
    }
  }
  for (int i = 0; i < L; ++i) StoreLanes(o[i], out + d + 16 * i);
}

// Merges the keys [keys) of a chunk into one softmax.
void Merge(const float* q, const Chunk& chunk, Range keys, float scale, Softmax& state,
           float* out) {
  HWY_ALIGN float p[kKeyChunk];
  Score(q, chunk, keys, scale, p);
  VF highest = hn::Set(DF(), state.maximum);
  for (int64_t j = 0; j < kKeyChunk; j += kWidth) {
    highest = hn::Max(highest, hn::Load(DF(), p + j));
  }
  const float maximum = hn::GetLane(hn::MaxOfLanes(DF(), highest));
  const VF shift = hn::Set(DF(), maximum);
  for (int64_t j = 0; j < kKeyChunk; j += kWidth) {
    hn::Store(VectorExp(DF(), hn::Sub(hn::Load(DF(), p + j), shift)), DF(), p + j);
  }
  const float decay = state.maximum == kMinusInfinity
                          ? 0.0f
                          : hn::GetLane(VectorExp(D1(), hn::Set(D1(), state.maximum - maximum)));
  float sum = p[keys.begin];
  for (int64_t j = keys.begin + 1; j < keys.end; ++j) sum += p[j];
  state.sum = std::fma(state.sum, decay, sum);
  int64_t d = 0;
  for (; d + 64 <= chunk.padded; d += 64) Accumulate<4>(chunk, p, keys, decay, d, out);
  for (; d < chunk.padded; d += 16) Accumulate<1>(chunk, p, keys, decay, d, out);
  state.maximum = maximum;
}

// What a tile keeps in scratch: copies of a chunk's rows, and per (row, head) its query, output and
// softmax.
struct TileMemory {
  float* k;
  float* v;
  float* q;
  float* out;
  Softmax* softmax;
};

TileMemory CarveScratch(int64_t states, int64_t padded, Scratch& scratch) {
  static_assert(sizeof(Softmax) % sizeof(float) == 0 && alignof(Softmax) <= 64);
  const int64_t softmax_floats =
      (states * static_cast<int64_t>(sizeof(Softmax) / sizeof(float)) + 15) / 16 * 16;
  TileMemory memory;
  float* base = scratch.Floats(softmax_floats + 2 * (states + kKeyChunk) * padded);
  memory.softmax = reinterpret_cast<Softmax*>(base);
  std::uninitialized_default_construct_n(memory.softmax, states);
  memory.k = base + softmax_floats;
  memory.v = memory.k + kKeyChunk * padded;
  memory.q = memory.v + kKeyChunk * padded;
  memory.out = memory.q + states * padded;
  return memory;
}

// Positions [held) of one chunk, page after page.
void LoadChunk(const AttentionArgs& args, const AttentionTile& tile, Range held, int64_t padded,
               const TileMemory& memory, Chunk& chunk) {
  const KvPages& pages = *args.pages;
  const int32_t sequence = args.rows->sequences[static_cast<size_t>(tile.tokens.begin)];
  const int64_t page_tokens = pages.k.shape[2];
  chunk.padded = padded;
  for (int64_t position = held.begin; position < held.end;) {
    const int64_t page_end = (position / page_tokens + 1) * page_tokens;
    const int64_t end = std::min(page_end, held.end);
    int64_t row = PageRow(pages.k, *args.rows, sequence, position, tile.kv_head);
    for (; position < end; ++position, ++row) {
      const int64_t j = position % kKeyChunk;
      chunk.k[j] = LoadRow(pages.k, row, padded, memory.k + j * padded);
      chunk.v[j] = LoadRow(pages.v, row, padded, memory.v + j * padded);
    }
  }
}

Range VisibleKeys(const AttentionArgs& args, int64_t token) {
  const int64_t last = args.rows->positions[static_cast<size_t>(token)];
  const int64_t span = args.shape->span;
  return {span == 0 ? 0 : last / span * span, last + 1};
}

// Fills queries and softmaxes; returns the positions that any row of the tile sees.
Range StartTile(const AttentionArgs& args, const AttentionTile& tile, int64_t padded,
                TileMemory& memory) {
  const int64_t head_dim = args.shape->head_dim;
  Range keys{std::numeric_limits<int64_t>::max(), 0};
  int64_t state = 0;
  for (int64_t t = tile.tokens.begin; t < tile.tokens.end; ++t) {
    const Range visible = VisibleKeys(args, t);
    keys = {std::min(keys.begin, visible.begin), std::max(keys.end, visible.end)};
    for (int64_t head = tile.heads.begin; head < tile.heads.end; ++head, ++state) {
      memory.softmax[state].keys = visible;
      float* q = memory.q + state * padded;
      std::copy_n(args.q.row_as<float>(t) + head * head_dim, head_dim, q);
      std::fill(q + head_dim, q + padded, 0.0f);
      std::fill_n(memory.out + state * padded, padded, 0.0f);
    }
  }
  return keys;
}

}  // namespace

void StoreKv(const StoreKvArgs& args, Range tokens) {
  const int64_t head_dim = args.pages.k.columns();
  for (int64_t t = tokens.begin; t < tokens.end; ++t) {
    const int32_t sequence = args.rows->sequences[static_cast<size_t>(t)];
    const int32_t position = args.rows->positions[static_cast<size_t>(t)];
    for (int64_t head = 0; head < args.pages.k.shape[1]; ++head) {
      const int64_t row = PageRow(args.pages.k, *args.rows, sequence, position, head);
      StoreRow(args.k.row_as<float>(t) + head * head_dim, args.pages.k, row, head_dim);
      StoreRow(args.v.row_as<float>(t) + head * head_dim, args.pages.v, row, head_dim);
    }
  }
}

void Attention(const AttentionArgs& args, const AttentionTile& tile, Scratch& scratch) {
  const int64_t head_dim = args.shape->head_dim;
  const int64_t padded = (head_dim + 15) / 16 * 16;
  const int64_t states = tile.tokens.size() * tile.heads.size();
  TileMemory memory = CarveScratch(states, padded, scratch);
  const Range keys = StartTile(args, tile, padded, memory);
  for (int64_t begin = keys.begin / kKeyChunk * kKeyChunk; begin < keys.end; begin += kKeyChunk) {
    const Range held{std::max(begin, keys.begin), std::min(begin + kKeyChunk, keys.end)};
    Chunk chunk;
    LoadChunk(args, tile, held, padded, memory, chunk);
    for (int64_t state = 0; state < states; ++state) {
      Softmax& softmax = memory.softmax[state];
      const Range seen{std::max(held.begin, softmax.keys.begin) - begin,
                       std::min(held.end, softmax.keys.end) - begin};
      if (seen.begin >= seen.end) continue;
      Merge(memory.q + state * padded, chunk, seen, args.shape->scale, softmax,
            memory.out + state * padded);
    }
  }
  int64_t state = 0;
  for (int64_t t = tile.tokens.begin; t < tile.tokens.end; ++t) {
    for (int64_t head = tile.heads.begin; head < tile.heads.end; ++head, ++state) {
      float* out = args.out.row_as<float>(t) + head * head_dim;
      const float* from = memory.out + state * padded;
      const float sum = memory.softmax[state].sum;
      ForEachVector(head_dim, [=](auto d, int64_t i) HWY_ATTR {
        hn::StoreU(hn::Div(hn::LoadU(d, from + i), hn::Set(d, sum)), d, out + i);
      });
    }
  }
}

#endif
}  // namespace trireme::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
