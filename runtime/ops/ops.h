// The verbs a layer is written in. A backend implements verbs, never layers; `reference/` is the
// specification, and the CPU backend equals it bit for bit at every vector width.
//
// Views name memory of the backend's device. Verbs enqueue on the backend's stream and never fail
// (shapes are our own: CHECK); device errors are sticky and read once a step through status().
// Activations are fp32, row-major, [tokens, width]. Unless said otherwise outputs must not alias
// inputs. 0 tokens is a no-op.
//
// ── Arithmetic (the numerics contract), of Arithmetic::kFp32
// ─────────────────────────────────────────────────────────────────── Dot(a, b) over K elements: 16
// fp32 lanes, all starting at +0. Element k is added to lane k % 16 by
//   lane = fma(a[k], b[k], lane), k ascending; the tail is padded with zeros in both operands to a
//   multiple of 16. Then lanes are folded: l[i] += l[i+8] (i<8), l[i] += l[i+4] (i<4), l[i] +=
//   l[i+2] (i<2), l[0] += l[1].
// Weights are converted to fp32 exactly before use: F32, F16, BF16 as they are; block types as GGUF
// defines them
//   (Q8_0 d*q; Q4_0 d*(q-8); Q4_1 d*q+m; Q5_0 d*(q-16); Q5_1 d*q+m; Q4_K, Q5_K (d*sc)*q-(dmin*m);
//   Q6_K (d*sc)*q), where each product of d with integers is exact in fp32 and the one sum rounds
//   once.
// Exp(x): scalar_math.h, fma polynomial, the same steps in every backend. No libm in a verb.
// Every other operation is a single rounding in the order written at the verb. No contraction.
//
// Arithmetic::kNative may multiply by the processor's narrow dot products instead. The same holds
// then for batches, meshes and threads, but only among machines of one instruction class: those
// that have the same narrow products.
//   Weights of Q8_0, Q4_0, Q4_1 and of Q4_K, Q5_K, Q6_K are multiplied in integers, exactly and so
//   alike on every machine. x is cut along K into groups of 32; int8_group.h makes of each an fp32
//   d and an integer q in [-127, 127] for every element. With the weights' groups dw * qw + mw as
//   GGUF defines them, a leaf's Dot is one accumulator from +0 over ascending groups (Q6_K: halves):
//     acc = fma(float(sum of qw * q), dw * d, acc), and then, where groups have an mw,
//     acc = fma(mw, d * float(sum of q), acc)
//   Excepted, and multiplied in fp32, are matrices whose leaves, on whatever mesh, do not all begin
//   and end on groups (LeafSchedule::grain), and those whose outputs have scales.
//   Weights of BF16, where the processor has a BF16 dot product (AVX512_BF16) and the outputs have
//   no scales: x is rounded to BF16 (nearest even), and a leaf's Dot is one accumulator from +0 over
//   ascending pairs of elements, padded with zeros in both operands to a multiple of 32:
//     acc = fma(a[2p], b[2p], fma(a[2p + 1], b[2p + 1], acc))
//   where every operand and result that is subnormal becomes a zero of its sign; so does x before
//   it is rounded. (A result is subnormal if it is, rounded to 24 bits, under 2^-126.)
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/tensor/sum_tree.h"
#include "runtime/tensor/tensor.h"

namespace trireme {

// Keys are walked in chunks of this many from position 0, and chunks are merged in order.
inline constexpr int64_t kKeyChunk = 32;

// The keys and values of one layer: pages × [kv_heads, page_tokens, head_dim], in F32, F16 or Q8_0
// (blocks of 32 values of a head, so head_dim is a multiple of 32).
// Position p of a sequence lies in its page i / page_tokens at slot i % page_tokens, where i = p,
// or p % chunk in layers that keep only the chunk that the sequence is in.
struct KvPages {
  TensorView k;  // [pages, kv_heads, page_tokens, head_dim], kF32, kF16 or kQ8_0
  TensorView v;  // the same
};

// Where each row of a batch stands; arrays in device memory.
struct RowIndex {
  std::span<const int32_t> positions;     // [tokens] absolute position of the row
  std::span<const int32_t> sequences;     // [tokens] index into page_offsets
  std::span<const int32_t> page_offsets;  // [sequences + 1] into pages
  std::span<const int32_t> pages;         // page ids of every sequence, in order of position
  int64_t chunk = 0;  // positions that the pages of a sequence hold, over and over; 0: all
};

struct AttentionShape {
  int64_t query_heads = 0;  // of this rank
  int64_t kv_heads = 0;     // of this rank
  // Query head h of this rank reads KV head (h + first_query_head) / group - first_kv_head of this
  // rank.
  int64_t group = 1;
  int64_t first_query_head = 0;
  int64_t first_kv_head = 0;
  int64_t head_dim = 0;
  float scale = 1;
  // A row at position p sees keys [p / span * span, p]; 0 = all of [0, p]. (Llama 4's chunked
  // attention.)
  int64_t span = 0;
};

enum class RopeStyle {
  kHalves,       // pairs (i, i + d/2): HuggingFace Llama
  kInterleaved,  // pairs (2i, 2i + 1): GGUF Llama, Llama 4
};

// One routed expert's matrix. All of a call have the same n and k.
struct ExpertMatrix {
  ConstTensorView values;  // [n, k], or [k, n] if input-major; rows may be strided
  // [1, n] F32, F16 or BF16: factors of the outputs (FP8's). Empty: none.
  ConstTensorView scales;
  bool input_major = false;  // HuggingFace's fused Llama 4 experts are stored as y = x W
  // As LinearLeaves' w_offset: along k, whichever axis that is.
  int64_t offset = 0;
};

// Which experts each token goes to: written by Route, read by the verbs on experts. Arrays in
// device memory, so that no verb waits for the host. Token t has slots [t * per_token, (t + 1) *
// per_token).
struct Routing {
  int64_t per_token = 1;
  Range held;                  // experts of this rank; matrix e of a call is expert held.begin + e
  std::span<int32_t> experts;  // [slots] a token's choices by falling logit, ties by lower expert
  std::span<float> scores;     // [slots] 1 / (1 + Exp(-logit))
  std::span<int32_t> rows;     // [slots] slots of held experts, by expert and then ascending
  std::span<int32_t> offsets;  // [held + 1] into rows; rows beyond the last are unspecified
  std::span<int64_t> loads;    // [all experts] += slots that chose the expert
};

class ThreadPool;

class Ops {
 public:
  virtual ~Ops() = default;

  virtual std::string name() const = 0;
  virtual absl::Status status() const = 0;
  // The threads that verbs run on, for work between verbs; nullptr: the caller's alone.
  virtual ThreadPool* pool() { return nullptr; }

  // out[t] = table[ids[t] - first_row] + 0.0f as fp32 where the rank holds that row, zeros
  // elsewhere. table: [rows, width] any weight dtype.  ids: [tokens].  out: [tokens, width].
  virtual void Embed(std::span<const int32_t> ids, ConstTensorView table, int64_t first_row,
                     TensorView out) = 0;

  // out = (x * (1 / sqrt(Dot(x, x) / width + eps))) * weight.  x, out: [tokens, width], may alias.
  // weight: [width] kF32, kF16 or kBF16, or empty: then nothing is multiplied last.
  virtual void RmsNorm(ConstTensorView x, ConstTensorView weight, float eps, TensorView out) = 0;

  // out[t, n] = Dot(x[t], w[n]).  x: [tokens, k]  w: [n, k], rows may be strided  out: [tokens, n].
  virtual void Linear(ConstTensorView x, ConstTensorView w, TensorView out) = 0;

  // Like Linear, with K cut into leaves: each leaf is a Dot of its own (lane 0 at the leaf's first
  // element), and schedule.steps add the leaves' results. Leaf columns [b, e) of x meet columns [b
  // + w_offset, e + w_offset) of w (a slice of block-typed weights is widened to whole blocks, and
  // starts w_offset columns early). No leaves: out is zero.
  virtual void LinearLeaves(ConstTensorView x, ConstTensorView w, int64_t w_offset,
                            const LeafSchedule& schedule, TensorView out) = 0;

  // Rotates pairs of each head in place: (a, b) -> (a*cos - b*sin, b*cos + a*sin), computed as
  // fma(a, cos, -(b*sin)) and fma(b, cos, a*sin).
  // x: [tokens, heads * head_dim]  cos, sin: [max positions, head_dim / 2].
  virtual void Rope(TensorView x, int64_t head_dim, std::span<const int32_t> positions,
                    ConstTensorView cos, ConstTensorView sin, RopeStyle style) = 0;

  // Writes rows into their pages, rounded to the pages' dtype (nearest even; Q8_0 by ScaleOfQ8 of
  // scalar_math.h). What a row becomes depends on that row alone.
  // k, v: [tokens, kv_heads * head_dim].
  virtual void StoreKv(ConstTensorView k, ConstTensorView v, const RowIndex& rows,
                       KvPages pages) = 0;

  // Copies whole pages, of any dtype: copies[2i] to copies[2i + 1], one pair after the other.
  // pages: [pages, …].
  virtual void CopyPages(std::span<const int32_t> copies, TensorView pages) = 0;

  // Softmax attention over pages, keys walked in ascending chunks of kKeyChunk aligned at position
  // 0 (the first and last chunk may be partial). Per row and query head, m = -inf, l = 0, o = 0 at
  // first; for each chunk:
  //   s[j] = Dot(q, k[j]) * scale;  c = max over s;  m' = max(m, c);  a = Exp(m - m') (0 when m is
  //   -inf) p[j] = Exp(s[j] - m');  sum = ((p[0] + p[1]) + p[2]) + …;  l = fma(l, a, sum) o[d] =
  //   o[d] * a, then o[d] = fma(p[j], v[j][d], o[d]) for j ascending;  m = m'
  // and finally out = o / l.
  // q, out: [tokens, query_heads * head_dim].
  virtual void Attention(ConstTensorView q, const RowIndex& rows, const KvPages& pages,
                         const AttentionShape& shape, TensorView out) = 0;

  // gate = (gate / (1 + Exp(-gate))) * up, in place.  gate, up: [tokens, width].
  virtual void SiluMul(TensorView gate, ConstTensorView up) = 0;

  // x += y.  [tokens, width].
  virtual void Add(TensorView x, ConstTensorView y) = 0;

  // out[i] = x[rows[i]].  x: [tokens, width]  out: [rows, width].
  virtual void GatherRows(ConstTensorView x, std::span<const int32_t> rows, TensorView out) = 0;

  // x[t] *= scales[positions[t]].  x: [tokens, width]  scales: [max positions, 1].
  virtual void ScaleByPosition(TensorView x, std::span<const int32_t> positions,
                               ConstTensorView scales) = 0;

  // ── Routed experts. A step is Route, GatherExperts, products by ExpertLinear, ScatterExperts;
  // views of slots have room for every slot, of which the first offsets.back() rows are used.

  // Fills the arrays of `routing`.  logits: [tokens, all experts].
  virtual void Route(ConstTensorView logits, const Routing& routing) = 0;

  // out[i] = x[token of slot rows[i]] * scores[rows[i]].  x: [tokens, width]  out: [slots, width].
  virtual void GatherExperts(ConstTensorView x, const Routing& routing, TensorView out) = 0;

  // LinearLeaves of each expert's rows with its own matrix, except that each leaf's Dot is
  // multiplied by the output's scale (where there is one) before the leaves are added. No schedule:
  // one leaf of all columns. The memory of an expert without rows is not touched.
  // x: [slots, k]  out: [slots, n].
  virtual void ExpertLinear(ConstTensorView x, std::span<const ExpertMatrix> experts,
                            const Routing& routing, const LeafSchedule* schedule,
                            TensorView out) = 0;

  // out[rows[i]] = x[i] + 0.0f, and zeros in the slots of other ranks' experts.
  // x, out: [slots, width].
  virtual void ScatterExperts(ConstTensorView x, const Routing& routing, TensorView out) = 0;
};

enum class Arithmetic {
  kFp32,    // the contract above: the same bits on every machine
  kNative,  // the processor's narrow dot products too: the same bits within an instruction class
};

struct CpuOptions {
  int threads = 1;
  // Caps the vector width for tests: "", "AVX2", "AVX3", … as Highway names its targets; "" = the
  // best here. Unknown or unsupported names are an error that lists those supported.
  std::string target;
  Arithmetic arithmetic = Arithmetic::kFp32;
};
absl::StatusOr<std::unique_ptr<Ops>> MakeCpuOps(const CpuOptions& options);
// Targets of MakeCpuOps that this machine can run, best first.
std::vector<std::string> CpuTargets();
// Whether kNative multiplies weights of BF16 by BF16 dot products on a target of CpuTargets().
bool HasBf16Products(std::string_view target);

// The oracle: plain scalar loops. `bf16_products`: of which class kNative is.
std::unique_ptr<Ops> MakeReferenceOps(Arithmetic arithmetic = Arithmetic::kFp32,
                                      bool bf16_products = true);

}  // namespace trireme
