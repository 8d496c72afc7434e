// The specification of ops.h as plain loops: slow, obvious, and the oracle of every parity test.
// Nothing here is vectorised, threaded or shared with a backend, except what defines single numbers
// (scalar_math.h, decode_row.h).
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>

#include "runtime/base/check.h"
#include "runtime/ops/decode_row.h"
#include "runtime/ops/int8_group.h"
#include "runtime/ops/ops.h"
#include "runtime/ops/reference/bf16_dot.h"
#include "runtime/ops/reference/int8_dot.h"
#include "runtime/ops/scalar_math.h"

namespace trireme {
namespace {

constexpr size_t kLanes = 16;

float At(std::span<const float> values, size_t i) { return i < values.size() ? values[i] : 0.0f; }

// Dot of ops.h.
float Dot(std::span<const float> a, std::span<const float> b) {
  std::array<float, kLanes> lanes{};
  for (size_t k = 0; k < a.size(); k += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      lanes[lane] = std::fma(At(a, k + lane), At(b, k + lane), lanes[lane]);
    }
  }
  for (size_t width = kLanes / 2; width >= 1; width /= 2) {
    for (size_t lane = 0; lane < width; ++lane) lanes[lane] += lanes[lane + width];
  }
  return lanes[0];
}

// Row `index` of a matrix as fp32.
std::vector<float> Row(ConstTensorView matrix, int64_t index) {
  std::vector<float> values(static_cast<size_t>(matrix.columns()));
  DecodeRow(matrix.dtype, matrix.row(index), {0, matrix.columns()}, values);
  return values;
}

using DotFunction = float (*)(std::span<const float> x, std::span<const float> w);

float LeavesDot(DotFunction dot, std::span<const float> x, std::span<const float> w,
                int64_t w_offset, const LeafSchedule& schedule, float scale = 1) {
  if (schedule.leaves.empty()) return 0;
  std::vector<float> sums;
  for (const Range leaf : schedule.leaves) {
    const auto size = static_cast<size_t>(leaf.size());
    sums.push_back(dot(x.subspan(static_cast<size_t>(leaf.begin), size),
                       w.subspan(static_cast<size_t>(leaf.begin + w_offset), size)) *
                   scale);
  }
  for (const SumStep& step : schedule.steps) {
    sums[static_cast<size_t>(step.into)] += sums[static_cast<size_t>(step.from)];
  }
  return sums[0];
}

// The weights of output `n`, along k.
std::vector<float> OutputWeights(const ExpertMatrix& matrix, int64_t n) {
  if (!matrix.input_major) return Row(matrix.values, n);
  std::vector<float> values;
  for (int64_t k = 0; k < matrix.values.rows(); ++k) {
    float value = 0;
    DecodeRow(matrix.values.dtype, matrix.values.row(k), {n, n + 1}, {&value, 1});
    values.push_back(value);
  }
  return values;
}

// The first of the greatest logits whose expert is not in `chosen`. (NaN is greater than nothing.)
size_t BestOfOthers(std::span<const float> logits, std::span<const int32_t> chosen) {
  std::optional<size_t> best;
  for (size_t expert = 0; expert < logits.size(); ++expert) {
    const auto found = std::find(chosen.begin(), chosen.end(), static_cast<int32_t>(expert));
    if (found != chosen.end()) continue;
    if (!best || logits[expert] > logits[*best]) best = expert;
  }
  return *best;
}

// 32 values as a block of Q8_0: {half d; int8 q[32]}.
void StoreQ8Block(std::span<const float, 32> values, std::byte* block) {
  uint32_t largest = 0;  // magnitudes compare like their bits, NaN above all
  for (const float value : values) {
    largest = std::max(largest, std::bit_cast<uint32_t>(value) & 0x7FFFFFFFu);
  }
  const Q8Scale scale = ScaleOfQ8(std::bit_cast<float>(largest));
  std::memcpy(block, &scale.half, sizeof scale.half);
  for (size_t i = 0; i < values.size(); ++i) {
    int8_t q = 0;
    if (scale.inverse != 0) {
      q = static_cast<int8_t>(
          std::nearbyint(std::clamp(values[i] * scale.inverse, -127.0f, 127.0f)));
    }
    block[2 + i] = static_cast<std::byte>(q);
  }
}

void StoreRow(std::span<const float> values, DType dtype, std::byte* row) {
  switch (dtype) {
    case DType::kF32:
      std::ranges::copy(values, reinterpret_cast<float*>(row));
      return;
    case DType::kF16:
      std::ranges::transform(values, reinterpret_cast<uint16_t*>(row), FloatToHalf);
      return;
    case DType::kQ8_0:
      for (size_t i = 0; i < values.size(); i += 32) {
        StoreQ8Block(values.subspan(i).first<32>(), row + RowBytes(dtype, static_cast<int64_t>(i)));
      }
      return;
    default:
      TRI_CHECK(false) << "pages are F32, F16 or Q8_0, not " << Name(dtype);
  }
}

// Row of `pages` that holds position `position` of `sequence` for one KV head.
int64_t PageRow(const TensorView& pages, const RowIndex& rows, int32_t sequence, int64_t position,
                int64_t kv_head) {
  const int64_t page_tokens = pages.shape[2];
  const int64_t first = rows.page_offsets[static_cast<size_t>(sequence)];
  const int64_t index = rows.chunk == 0 ? position : position % rows.chunk;
  const int64_t page = rows.pages[static_cast<size_t>(first + index / page_tokens)];
  return (page * pages.shape[1] + kv_head) * page_tokens + index % page_tokens;
}

// Online softmax over chunks for one row and one query head.
struct SoftmaxState {
  float maximum = -std::numeric_limits<float>::infinity();
  float sum = 0;
  std::vector<float> out;
};

void MergeChunk(std::span<const float> scores, const std::vector<std::vector<float>>& values,
                SoftmaxState& state) {
  const float chunk_maximum = *std::max_element(scores.begin(), scores.end());
  const float maximum = std::max(state.maximum, chunk_maximum);
  const bool first = state.maximum == -std::numeric_limits<float>::infinity();
  const float decay = first ? 0.0f : Exp(state.maximum - maximum);
  std::vector<float> weights;
  for (const float score : scores) weights.push_back(Exp(score - maximum));
  float sum = weights[0];
  for (size_t j = 1; j < weights.size(); ++j) sum += weights[j];
  state.sum = std::fma(state.sum, decay, sum);
  for (float& value : state.out) value *= decay;
  for (size_t j = 0; j < weights.size(); ++j) {
    for (size_t d = 0; d < state.out.size(); ++d) {
      state.out[d] = std::fma(weights[j], values[j][d], state.out[d]);
    }
  }
  state.maximum = maximum;
}

class ReferenceOps final : public Ops {
 public:
  ReferenceOps(Arithmetic arithmetic, bool bf16_products)
      : arithmetic_(arithmetic),
        bf16_products_(arithmetic == Arithmetic::kNative && bf16_products) {}

  std::string name() const override { return "reference"; }
  absl::Status status() const override { return absl::OkStatus(); }

  void Embed(std::span<const int32_t> ids, ConstTensorView table, int64_t first_row,
             TensorView out) override {
    for (size_t t = 0; t < ids.size(); ++t) {
      float* to = out.row_as<float>(static_cast<int64_t>(t));
      const int64_t row = ids[t] - first_row;
      const bool held = row >= 0 && row < table.rows();
      const std::vector<float> values =
          held ? Row(table, row) : std::vector<float>(static_cast<size_t>(out.columns()));
      for (size_t i = 0; i < values.size(); ++i) to[i] = values[i] + 0.0f;
    }
  }

  void RmsNorm(ConstTensorView x, ConstTensorView weight, float eps, TensorView out) override {
    const std::vector<float> scale =
        weight.empty() ? std::vector<float>(static_cast<size_t>(x.columns()), 1) : Row(weight, 0);
    for (int64_t t = 0; t < x.rows(); ++t) {
      const std::vector<float> row = Row(x, t);
      const float mean = Dot(row, row) / static_cast<float>(row.size());
      const float inverse = 1.0f / std::sqrt(mean + eps);
      float* to = out.row_as<float>(t);
      for (size_t i = 0; i < row.size(); ++i) to[i] = (row[i] * inverse) * scale[i];
    }
  }

  void Linear(ConstTensorView x, ConstTensorView w, TensorView out) override {
    LinearLeaves(x, w, 0, OneLeaf(x), out);
  }

  void LinearLeaves(ConstTensorView x, ConstTensorView w, int64_t w_offset,
                    const LeafSchedule& schedule, TensorView out) override {
    const bool integers = MultipliesInInt8(w.dtype, schedule);
    // The extents are those of `out`: a rank without leaves has x and w of no columns.
    for (int64_t n = 0; n < out.columns(); ++n) {
      const std::vector<float> weights = Row(w, n);
      for (int64_t t = 0; t < out.rows(); ++t) {
        const std::span<const float> row(x.row_as<float>(t), static_cast<size_t>(x.columns()));
        out.row_as<float>(t)[n] = integers
                                      ? Int8LeavesDot(row, {w.dtype, w.row(n), w_offset}, schedule)
                                      : LeavesDot(DotOf(w.dtype), row, weights, w_offset, schedule);
      }
    }
  }

  void Rope(TensorView x, int64_t head_dim, std::span<const int32_t> positions, ConstTensorView cos,
            ConstTensorView sin, RopeStyle style) override {
    const int64_t half = head_dim / 2;
    for (int64_t t = 0; t < x.rows(); ++t) {
      const float* c = cos.row_as<float>(positions[static_cast<size_t>(t)]);
      const float* s = sin.row_as<float>(positions[static_cast<size_t>(t)]);
      for (int64_t head = 0; head < x.columns() / head_dim; ++head) {
        float* values = x.row_as<float>(t) + head * head_dim;
        for (int64_t i = 0; i < half; ++i) {
          float& a = values[style == RopeStyle::kHalves ? i : 2 * i];
          float& b = values[style == RopeStyle::kHalves ? i + half : 2 * i + 1];
          const float rotated = std::fma(a, c[i], -(b * s[i]));
          b = std::fma(b, c[i], a * s[i]);
          a = rotated;
        }
      }
    }
  }

  void StoreKv(ConstTensorView k, ConstTensorView v, const RowIndex& rows, KvPages pages) override {
    const int64_t head_dim = pages.k.columns();
    for (int64_t t = 0; t < k.rows(); ++t) {
      const auto index = static_cast<size_t>(t);
      for (int64_t head = 0; head < pages.k.shape[1]; ++head) {
        const int64_t row =
            PageRow(pages.k, rows, rows.sequences[index], rows.positions[index], head);
        const auto size = static_cast<size_t>(head_dim);
        StoreRow({k.row_as<float>(t) + head * head_dim, size}, pages.k.dtype, pages.k.row(row));
        StoreRow({v.row_as<float>(t) + head * head_dim, size}, pages.v.dtype, pages.v.row(row));
      }
    }
  }

  void Attention(ConstTensorView q, const RowIndex& rows, const KvPages& pages,
                 const AttentionShape& shape, TensorView out) override {
    for (int64_t t = 0; t < q.rows(); ++t) {
      for (int64_t head = 0; head < shape.query_heads; ++head) {
        AttendOne(q, rows, pages, shape, {t, head}, out.row_as<float>(t) + head * shape.head_dim);
      }
    }
  }

  void SiluMul(TensorView gate, ConstTensorView up) override {
    for (int64_t t = 0; t < gate.rows(); ++t) {
      float* to = gate.row_as<float>(t);
      for (int64_t i = 0; i < gate.columns(); ++i) {
        to[i] = (to[i] / (1.0f + Exp(-to[i]))) * up.row_as<float>(t)[i];
      }
    }
  }

  void Add(TensorView x, ConstTensorView y) override {
    for (int64_t t = 0; t < x.rows(); ++t) {
      for (int64_t i = 0; i < x.columns(); ++i) x.row_as<float>(t)[i] += y.row_as<float>(t)[i];
    }
  }

  void CopyPages(std::span<const int32_t> copies, TensorView pages) override {
    const int64_t bytes = pages.bytes() / pages.shape[0];
    for (size_t i = 0; i + 1 < copies.size(); i += 2) {
      for (int64_t byte = 0; byte < bytes; ++byte) {
        pages.data[copies[i + 1] * bytes + byte] = pages.data[copies[i] * bytes + byte];
      }
    }
  }

  void GatherRows(ConstTensorView x, std::span<const int32_t> rows, TensorView out) override {
    for (size_t i = 0; i < rows.size(); ++i) {
      std::copy_n(x.row_as<float>(rows[i]), x.columns(),
                  out.row_as<float>(static_cast<int64_t>(i)));
    }
  }

  void ScaleByPosition(TensorView x, std::span<const int32_t> positions,
                       ConstTensorView scales) override {
    for (int64_t t = 0; t < x.rows(); ++t) {
      const float scale = scales.row_as<float>(positions[static_cast<size_t>(t)])[0];
      for (int64_t i = 0; i < x.columns(); ++i) x.row_as<float>(t)[i] *= scale;
    }
  }

  void Route(ConstTensorView logits, const Routing& routing) override {
    const auto per_token = static_cast<size_t>(routing.per_token);
    for (int64_t t = 0; t < logits.rows(); ++t) {
      const std::vector<float> row = Row(logits, t);
      for (size_t i = 0; i < per_token; ++i) {
        const size_t slot = static_cast<size_t>(t) * per_token + i;
        const auto expert = BestOfOthers(row, routing.experts.subspan(slot - i, i));
        routing.experts[slot] = static_cast<int32_t>(expert);
        routing.scores[slot] = 1.0f / (1.0f + Exp(-row[expert]));
        ++routing.loads[expert];
      }
    }
    const size_t slots = static_cast<size_t>(logits.rows()) * per_token;
    size_t rows = 0;
    routing.offsets[0] = 0;
    for (int64_t expert = routing.held.begin; expert < routing.held.end; ++expert) {
      for (size_t slot = 0; slot < slots; ++slot) {
        if (routing.experts[slot] == expert) routing.rows[rows++] = static_cast<int32_t>(slot);
      }
      routing.offsets[static_cast<size_t>(expert - routing.held.begin + 1)] =
          static_cast<int32_t>(rows);
    }
  }

  void GatherExperts(ConstTensorView x, const Routing& routing, TensorView out) override {
    for (int64_t i = 0; i < routing.offsets.back(); ++i) {
      const auto slot = static_cast<size_t>(routing.rows[static_cast<size_t>(i)]);
      const float* from = x.row_as<float>(static_cast<int64_t>(slot) / routing.per_token);
      for (int64_t d = 0; d < x.columns(); ++d) {
        out.row_as<float>(i)[d] = from[d] * routing.scores[slot];
      }
    }
  }

  void ExpertLinear(ConstTensorView x, std::span<const ExpertMatrix> experts,
                    const Routing& routing, const LeafSchedule* schedule, TensorView out) override {
    const LeafSchedule whole = OneLeaf(x);
    const LeafSchedule& leaves = schedule == nullptr ? whole : *schedule;
    for (size_t e = 0; e < experts.size(); ++e) {
      if (routing.offsets[e] == routing.offsets[e + 1]) continue;
      for (int64_t n = 0; n < out.columns(); ++n) {
        const std::vector<float> weights = OutputWeights(experts[e], n);
        const bool scaled = !experts[e].scales.empty();
        const float scale = scaled ? Row(experts[e].scales, 0)[static_cast<size_t>(n)] : 1.0f;
        const ConstTensorView& values = experts[e].values;
        const bool integers = !scaled && MultipliesInInt8(values.dtype, leaves);
        const DotFunction dot = scaled ? Dot : DotOf(values.dtype);
        for (int64_t i = routing.offsets[e]; i < routing.offsets[e + 1]; ++i) {
          const std::span<const float> row(x.row_as<float>(i), static_cast<size_t>(x.columns()));
          out.row_as<float>(i)[n] =
              integers
                  ? Int8LeavesDot(row, {values.dtype, values.row(n), experts[e].offset}, leaves)
                  : LeavesDot(dot, row, weights, experts[e].offset, leaves, scale);
        }
      }
    }
  }

  void ScatterExperts(ConstTensorView x, const Routing& routing, TensorView out) override {
    for (int64_t slot = 0; slot < out.rows(); ++slot) {
      std::fill_n(out.row_as<float>(slot), out.columns(), 0.0f);
    }
    for (int64_t i = 0; i < routing.offsets.back(); ++i) {
      float* to = out.row_as<float>(routing.rows[static_cast<size_t>(i)]);
      for (int64_t d = 0; d < out.columns(); ++d) to[d] = x.row_as<float>(i)[d] + 0.0f;
    }
  }

 private:
  static LeafSchedule OneLeaf(ConstTensorView x) { return {{{0, x.columns()}}, {}, x.columns()}; }

  bool MultipliesInInt8(DType weights, const LeafSchedule& schedule) const {
    return arithmetic_ == Arithmetic::kNative && HasInt8Groups(weights) &&
           CutsIntoInt8Groups(schedule);
  }

  DotFunction DotOf(DType weights) const {
    return bf16_products_ && weights == DType::kBF16 ? Bf16Dot : Dot;
  }

  struct Query {
    int64_t token;
    int64_t head;
  };

  static void AttendOne(ConstTensorView q, const RowIndex& rows, const KvPages& pages,
                        const AttentionShape& shape, Query query, float* out) {
    const auto token = static_cast<size_t>(query.token);
    const int64_t last = rows.positions[token];
    const int64_t first = shape.span == 0 ? 0 : last / shape.span * shape.span;
    const int64_t kv_head =
        (query.head + shape.first_query_head) / shape.group - shape.first_kv_head;
    const std::span<const float> query_values(
        q.row_as<float>(query.token) + query.head * shape.head_dim,
        static_cast<size_t>(shape.head_dim));
    SoftmaxState state;
    state.out.assign(query_values.size(), 0.0f);
    for (int64_t chunk = first / kKeyChunk * kKeyChunk; chunk <= last; chunk += kKeyChunk) {
      std::vector<float> scores;
      std::vector<std::vector<float>> values;
      const int64_t end = std::min(chunk + kKeyChunk, last + 1);
      for (int64_t position = std::max(chunk, first); position < end; ++position) {
        const int64_t row = PageRow(pages.k, rows, rows.sequences[token], position, kv_head);
        scores.push_back(Dot(query_values, Row(pages.k, row)) * shape.scale);
        values.push_back(Row(pages.v, row));
      }
      MergeChunk(scores, values, state);
    }
    for (size_t d = 0; d < state.out.size(); ++d) out[d] = state.out[d] / state.sum;
  }

  const Arithmetic arithmetic_;
  const bool bf16_products_;
};

}  // namespace

std::unique_ptr<Ops> MakeReferenceOps(Arithmetic arithmetic, bool bf16_products) {
  return std::make_unique<ReferenceOps>(arithmetic, bf16_products);
}

}  // namespace trireme
