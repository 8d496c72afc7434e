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

// `count` values (whole blocks of Q8_0) from `from` on as fp32.
void DecodeValues(DType dtype, const std::byte* from, int64_t count, float* to) {
  if (dtype == DType::kF32) {
    std::memcpy(to, from, static_cast<size_t>(count) * sizeof(float));
  } else if (dtype == DType::kQ8_0) {
    const auto* block = reinterpret_cast<const uint8_t*>(from);
    for (int64_t i = 0; i < count; i += 32, block += Q8_0Weights::kBlockBytes) {
      Lanes values[2];
      Q8_0Weights::DecodeBy(LoadScale(block), block, values);
      StoreLanes(values[0], to + i);
      StoreLanes(values[1], to + i + 16);
    }
  } else {
    const auto* halves = reinterpret_cast<const hwy::float16_t*>(from);
    ForEachVector(count, [=](auto d, int64_t i) HWY_ATTR {
      const hn::Rebind<hwy::float16_t, decltype(d)> d16;
      hn::StoreU(hn::PromoteTo(d, hn::LoadU(d16, halves + i)), d, to + i);
    });
  }
}

// `count` consecutive rows of a page as fp32, zero-padded to `padded` values (a multiple of 16): in
// place where they can be, else copied, and all in one go where nothing is padded.
void LoadRows(const TensorView& pages, int64_t row, int64_t count, int64_t padded, float* copy,
              const float** rows) {
  const int64_t head_dim = pages.columns();
  const bool in_place = pages.dtype == DType::kF32 && head_dim == padded;
  for (int64_t i = 0; i < count; ++i) {
    rows[i] = in_place ? pages.row_as<float>(row + i) : copy + i * padded;
  }
  if (in_place) return;
  if (head_dim == padded) {
    DecodeValues(pages.dtype, pages.row(row), count * head_dim, copy);
    return;
  }
  for (int64_t i = 0; i < count; ++i, copy += padded) {
    DecodeValues(pages.dtype, pages.row(row + i), head_dim, copy);
    std::fill(copy + head_dim, copy + padded, 0.0f);
  }
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

// How many (row, head)s that see the same keys of a chunk are merged together: each key and value
// is loaded once for all of them, and chains of additions that cannot be shortened run side by
// side.
constexpr int kTogether = kParts == 1 ? 4 : 1;

// What the members of a group have each.
struct Member {
  const float* q;
  float* out;
  Softmax* state;
};
struct Group {
  Member member[kTogether];
  int count = 0;
};

// Scores, and what becomes of them, of each member by key.
using Scores = float (&)[4][kKeyChunk];

// Keys that the scores of a group are computed for at a time.
constexpr int64_t kKeysAtOnce = 4;

#if HWY_TARGET == HWY_AVX3
// The totals of sum[i][j], each folded in the order of Dot: quarter i of the result has j = 0 to 3.
HWY_INLINE VF FoldSquare(const Lanes (&sum)[4][4]) {
  const auto halves = [](const Lanes& a, const Lanes& b) HWY_ATTR {
    const __m512 x = a.part[0].raw;
    const __m512 y = b.part[0].raw;
    return _mm512_add_ps(_mm512_shuffle_f32x4(x, y, 0x44), _mm512_shuffle_f32x4(x, y, 0xEE));
  };
  // Of column j: quarter i holds what is left of sum[i][j].
  const auto column = [&](int j) HWY_ATTR {
    const __m512 x = halves(sum[0][j], sum[1][j]);
    const __m512 y = halves(sum[2][j], sum[3][j]);
    return _mm512_add_ps(_mm512_shuffle_f32x4(x, y, 0x88), _mm512_shuffle_f32x4(x, y, 0xDD));
  };
  const auto pairs = [](__m512 x, __m512 y) HWY_ATTR {
    return _mm512_add_ps(_mm512_shuffle_ps(x, y, 0x44), _mm512_shuffle_ps(x, y, 0xEE));
  };
  const __m512 x = pairs(column(0), column(1));
  const __m512 y = pairs(column(2), column(3));
  return VF{_mm512_add_ps(_mm512_shuffle_ps(x, y, 0x88), _mm512_shuffle_ps(x, y, 0xDD))};
}

// scores[i][j] = Dot(q[i], k[j]) for four members and keys from `first`, beyond which the last of
// `keys` stands in.
HWY_INLINE void ScoreKeys(const Group& group, const Chunk& chunk, Range keys, int64_t first,
                          float scale, Scores scores) {
  const float* q[4];
  const float* k[4];
  for (int i = 0; i < 4; ++i) {
    q[i] = group.member[std::min(i, group.count - 1)].q;
    k[i] = chunk.k[std::min(first + i, keys.end - 1)];
  }
  Lanes sum[4][4];
  for (auto& row : sum) {
    for (Lanes& lanes : row) lanes = ZeroLanes();
  }
  for (int64_t d = 0; d < chunk.padded; d += 16) {
    Lanes key[4];
    for (int j = 0; j < 4; ++j) key[j] = LoadLanes(k[j] + d);
    for (int i = 0; i < 4; ++i) {
      const Lanes query = LoadLanes(q[i] + d);
      for (int j = 0; j < 4; ++j) MulAdd(query, key[j], sum[i][j]);
    }
  }
  HWY_ALIGN float square[4][4];
  hn::Store(hn::Mul(FoldSquare(sum), hn::Set(DF(), scale)), DF(), square[0]);
  const int64_t valid = std::min<int64_t>(4, keys.end - first);
  for (int i = 0; i < 4; ++i) {
    if (valid == 4) {
      hn::StoreU(hn::Load(D4(), square[i]), D4(), scores[i] + first);
    } else {
      std::copy_n(square[i], valid, scores[i] + first);
    }
  }
}
#else
HWY_INLINE void ScoreKeys(const Group& group, const Chunk& chunk, Range keys, int64_t first,
                          float scale, Scores scores) {
  const float* k[4];
  for (int64_t i = 0; i < 4; ++i) k[i] = chunk.k[std::min(first + i, keys.end - 1)];
  Lanes sum[4] = {ZeroLanes(), ZeroLanes(), ZeroLanes(), ZeroLanes()};
  for (int64_t d = 0; d < chunk.padded; d += 16) {
    const Lanes query = LoadLanes(group.member[0].q + d);
    for (int i = 0; i < 4; ++i) MulAdd(query, LoadLanes(k[i] + d), sum[i]);
  }
  HWY_ALIGN float four[4];
  hn::Store(hn::Mul(Fold(sum[0], sum[1], sum[2], sum[3]), hn::Set(D4(), scale)), D4(), four);
  std::copy_n(four, std::min<int64_t>(4, keys.end - first), scores[0] + first);
}
#endif

// o = o * decay, then o = fma(p[j], v[j], o) for j ascending, for L * 16 values from `d` of M
// members.
template <int L, int M>
HWY_INLINE void Accumulate(const Chunk& chunk, const Member* members, const float (*p)[kKeyChunk],
                           Range keys, const float* decay, int64_t d) {
  Lanes o[M][L];
  for (int m = 0; m < M; ++m) {
    const VF factor = hn::Set(DF(), decay[m]);
    for (int i = 0; i < L; ++i) {
      o[m][i] = LoadLanes(members[m].out + d + 16 * i);
      for (VF& part : o[m][i].part) part = hn::Mul(part, factor);
    }
  }
  for (int64_t j = keys.begin; j < keys.end; ++j) {
    const float* v = chunk.v[j] + d;
    Lanes values[L];
    for (int i = 0; i < L; ++i) values[i] = LoadLanes(v + 16 * i);
    for (int m = 0; m < M; ++m) {
      const VF weight = hn::Set(DF(), p[m][j]);
      for (int i = 0; i < L; ++i) {
        for (int part = 0; part < kParts; ++part) {
          o[m][i].part[part] = hn::MulAdd(weight, values[i].part[part], o[m][i].part[part]);
        }
      }
    }
  }
  for (int m = 0; m < M; ++m) {
    for (int i = 0; i < L; ++i) StoreLanes(o[m][i], members[m].out + d + 16 * i);
  }
}

template <int M>
void AccumulateAll(const Chunk& chunk, const Member* members, const float (*p)[kKeyChunk],
                   Range keys, const float* decay) {
  int64_t d = 0;
  for (; d + 64 <= chunk.padded; d += 64) Accumulate<4, M>(chunk, members, p, keys, decay, d);
  for (; d < chunk.padded; d += 16) Accumulate<1, M>(chunk, members, p, keys, decay, d);
}

// Scores to exp(score - maximum), of one member: its new maximum. Scores that it does not see are
// -inf.
HWY_INLINE float Exponentiate(const Softmax& state, float* p) {
  VF highest = hn::Set(DF(), state.maximum);
  for (int64_t j = 0; j < kKeyChunk; j += kWidth) {
    highest = hn::Max(highest, hn::Load(DF(), p + j));
  }
  const float maximum = hn::GetLane(hn::MaxOfLanes(DF(), highest));
  const VF shift = hn::Set(DF(), maximum);
  for (int64_t j = 0; j < kKeyChunk; j += kWidth) {
    hn::Store(VectorExp(DF(), hn::Sub(hn::Load(DF(), p + j), shift)), DF(), p + j);
  }
  return maximum;
}

// Merges the keys [keys) of a chunk into the softmaxes of up to kTogether members.
void Merge(const Group& group, const Chunk& chunk, Range keys, float scale) {
  const Member* members = group.member;
  HWY_ALIGN float p[4][kKeyChunk];
  for (int i = 0; i < kTogether; ++i) {
    for (int64_t j = 0; j < kKeyChunk; j += kWidth) {
      hn::Store(hn::Set(DF(), kMinusInfinity), DF(), p[i] + j);
    }
  }
  for (int64_t j = keys.begin; j < keys.end; j += kKeysAtOnce) {
    ScoreKeys(group, chunk, keys, j, scale, p);
  }
  HWY_ALIGN float before[4] = {};
  HWY_ALIGN float decay[4] = {};
  for (int i = 0; i < group.count; ++i) {
    Softmax& state = *members[i].state;
    before[i] = state.maximum;
    state.maximum = Exponentiate(state, p[i]);
    decay[i] = before[i] - state.maximum;
  }
  const auto first = hn::Eq(hn::Load(D4(), before), hn::Set(D4(), kMinusInfinity));
  hn::Store(hn::IfThenZeroElse(first, VectorExp(D4(), hn::Load(D4(), decay))), D4(), decay);
  float sum[kTogether];
  for (int i = 0; i < kTogether; ++i) sum[i] = p[i][keys.begin];
  for (int64_t j = keys.begin + 1; j < keys.end; ++j) {
    for (int i = 0; i < kTogether; ++i) sum[i] += p[i][j];
  }
  for (int i = 0; i < group.count; ++i) {
    float& total = members[i].state->sum;
    total = std::fma(total, decay[i], sum[i]);
  }
  int i = 0;
  for (; i + 2 <= group.count; i += 2) AccumulateAll<2>(chunk, members + i, p + i, keys, decay + i);
  for (; i < group.count; ++i) AccumulateAll<1>(chunk, members + i, p + i, keys, decay + i);
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

// Asks for positions [held), which lie in one page or in consecutive ones: the processor's own
// prefetch ends where a page does.
void Prefetch(const AttentionArgs& args, const AttentionTile& tile, Range held) {
  const int32_t sequence = args.rows->sequences[static_cast<size_t>(tile.tokens.begin)];
  const int64_t page_tokens = args.pages->k.shape[2];
  for (int64_t position = held.begin; position < held.end;) {
    const int64_t end = std::min((position / page_tokens + 1) * page_tokens, held.end);
    for (const TensorView& pages : {args.pages->k, args.pages->v}) {
      const int64_t row = PageRow(pages, *args.rows, sequence, position, tile.kv_head);
      const auto* from = reinterpret_cast<const char*>(pages.row(row));
      const int64_t bytes = (end - position) * pages.row_stride_bytes;
      for (int64_t byte = 0; byte < bytes; byte += 64) __builtin_prefetch(from + byte, 0, 2);
    }
    position = end;
  }
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
    const int64_t row = PageRow(pages.k, *args.rows, sequence, position, tile.kv_head);
    const int64_t j = position % kKeyChunk;
    LoadRows(pages.k, row, end - position, padded, memory.k + j * padded, chunk.k + j);
    LoadRows(pages.v, row, end - position, padded, memory.v + j * padded, chunk.v + j);
    position = end;
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
    Prefetch(args, tile, {held.end, std::min(held.end + kKeyChunk, keys.end)});
    for (int64_t state = 0; state < states;) {
      const auto seen = [&](int64_t i) {
        const Range keys_of = memory.softmax[i].keys;
        return Range{std::max(held.begin, keys_of.begin) - begin,
                     std::min(held.end, keys_of.end) - begin};
      };
      const Range keys_seen = seen(state);
      Group group;
      do {
        group.member[group.count] = {memory.q + state * padded, memory.out + state * padded,
                                     &memory.softmax[state]};
        ++group.count;
        ++state;
      } while (group.count < kTogether && state < states && seen(state) == keys_seen);
      if (keys_seen.begin < keys_seen.end) {
        Merge(group, chunk, keys_seen, args.shape->scale);
      }
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
