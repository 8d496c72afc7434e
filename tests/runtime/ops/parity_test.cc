// Every CPU target at every number of threads gives the bits of the reference. A case is a name and
// a function from a backend to numbers; a new verb adds cases, a new backend adds nothing.
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "gtest/gtest.h"
#include "runtime/ops/ops.h"
#include "tests/runtime/ops/parity_cases.h"
#include "tests/runtime/ops/samples.h"

namespace trireme {
namespace {

using Case = ParityCase;

struct LinearShape {
  int64_t tokens;
  int64_t outputs;
  int64_t width;  // in units of 1, or of a block
};

// 0, 1, odd, past a vector (16), past a tile of tokens (6) and rows (4), past the thread threshold.
constexpr LinearShape kLinearShapes[] = {
    {0, 4, 2},  {1, 1, 1}, {1, 3, 2}, {1, 9, 3},   {2, 4, 1}, {2, 7, 3},  {3, 5, 2},   {4, 6, 3},
    {5, 13, 2}, {6, 4, 3}, {7, 9, 1}, {13, 10, 2}, {1, 0, 2}, {1, 97, 4}, {19, 70, 3}, {1, 4, 0},
};
constexpr int64_t kScalarWidths[] = {1, 15, 16, 17, 31, 33, 100};

std::vector<float> RunLinear(Ops& ops, DType dtype, const LinearShape& shape) {
  Sampler sampler(kSeed);
  Tensor w = sampler.Weights(dtype, shape.outputs, shape.width);
  const std::vector<float> x = sampler.Values(shape.tokens * shape.width);
  std::vector<float> out = Floats(shape.tokens, shape.outputs);
  ops.Linear(Matrix(x, shape.tokens, shape.width), std::as_const(w).view(),
             Matrix(out, shape.tokens, shape.outputs));
  return out;
}

void AddLinearCases(std::vector<Case>& cases) {
  for (const DType dtype : kWeightTypes) {
    const auto add = [&](LinearShape shape) {
      cases.push_back(
          {absl::StrFormat("Linear %s tokens=%d outputs=%d k=%d", std::string(Name(dtype)),
                           shape.tokens, shape.outputs, shape.width),
           [=](Ops& ops) { return RunLinear(ops, dtype, shape); }});
    };
    const int64_t unit = IsBlockType(dtype) ? Traits(dtype).block_elements : 16;
    for (const LinearShape& shape : kLinearShapes) {
      add({shape.tokens, shape.outputs, shape.width * unit});
    }
    if (IsBlockType(dtype)) continue;
    for (const int64_t width : kScalarWidths) {
      add({1, 5, width});
      add({8, 5, width});
    }
  }
}

struct LeavesCase {
  std::string name;
  int64_t tokens;
  int64_t outputs;
  int64_t w_offset;
  LeafSchedule schedule;
};

// Leaves on blocks, across blocks, uneven, empty, and the real schedules of a split.
std::vector<LeavesCase> LeavesCases() {
  const LeafSchedule even{{{0, 64}, {64, 128}, {128, 192}}, {{0, 1}, {0, 2}}};
  const LeafSchedule uneven{{{0, 5}, {5, 21}, {21, 22}, {22, 151}}, {{0, 1}, {2, 3}, {0, 2}}};
  const LeafSchedule with_empty{{{0, 0}, {0, 40}, {40, 40}}, {{0, 1}, {0, 2}}};
  return {
      {"even", 1, 9, 0, even},
      {"even", 3, 9, 64, even},
      {"even", 11, 5, 0, even},
      {"across blocks", 1, 6, 16, even},
      {"across blocks", 7, 6, 16, even},
      {"uneven", 1, 6, 0, uneven},
      {"uneven", 4, 6, 3, uneven},
      {"uneven", 9, 130, 50, uneven},
      {"with empty leaves", 2, 6, 7, with_empty},
      {"none", 3, 6, 0, {}},
      {"heads", 2, 12, 0, SplitHeads(9, 3, 64, 0, 2).schedule},
      {"width", 5, 12, 0, SplitWidth(1000, 8, 1, 2).schedule},
  };
}

std::vector<float> RunLeaves(Ops& ops, DType dtype, const LeavesCase& leaves) {
  Sampler sampler(kSeed);
  const int64_t width = leaves.schedule.leaves.empty() ? 0 : leaves.schedule.leaves.back().end;
  const int64_t block = Traits(dtype).block_elements;
  // A column slice of a wider matrix, itself from the second block on.
  const int64_t columns = (leaves.w_offset + width + block - 1) / block * block;
  Tensor whole = sampler.Weights(dtype, leaves.outputs, columns + 2 * block);
  const ConstTensorView w = std::as_const(whole).view().Columns({block, block + columns});
  // Rows of x are strided as well.
  const std::vector<float> values = sampler.Values(leaves.tokens * (width + 3));
  const ConstTensorView x = Matrix(values, leaves.tokens, width + 3).Columns({2, 2 + width});
  std::vector<float> out = Floats(leaves.tokens, leaves.outputs + 2);
  const TensorView out_view =
      Matrix(out, leaves.tokens, leaves.outputs + 2).Columns({1, 1 + leaves.outputs});
  ops.LinearLeaves(x, w, leaves.w_offset, leaves.schedule, out_view);
  return out;
}

void AddLeavesCases(std::vector<Case>& cases) {
  for (const DType dtype : kWeightTypes) {
    for (const LeavesCase& leaves : LeavesCases()) {
      cases.push_back(
          {absl::StrFormat("LinearLeaves %s %s tokens=%d w_offset=%d", std::string(Name(dtype)),
                           leaves.name, leaves.tokens, leaves.w_offset),
           [=](Ops& ops) { return RunLeaves(ops, dtype, leaves); }});
    }
  }
}

std::vector<float> RunEmbed(Ops& ops, DType dtype, int64_t width) {
  Sampler sampler(kSeed);
  Tensor table = sampler.Weights(dtype, 9, width);
  // Rows 100 to 108 are held; others are another rank's.
  const std::vector<int32_t> ids = {100, 108, 99, 104, 109, 0, 104};
  std::vector<float> out = Floats(static_cast<int64_t>(ids.size()), width);
  ops.Embed(ids, std::as_const(table).view(), 100,
            Matrix(out, static_cast<int64_t>(ids.size()), width));
  return out;
}

std::vector<float> RunRmsNorm(Ops& ops, DType dtype, int64_t tokens, int64_t width, bool in_place) {
  Sampler sampler(kSeed);
  Tensor weight = sampler.Weights(dtype, 1, width);
  std::vector<float> x = sampler.Values(tokens * width);
  std::vector<float> out = Floats(tokens, width);
  const TensorView to = Matrix(in_place ? x : out, tokens, width);
  ops.RmsNorm(Matrix(std::as_const(x), tokens, width),
              std::as_const(weight).view().Reshaped(Shape{width}), 1e-5f, to);
  return in_place ? x : out;
}

std::vector<float> RunPlainNorm(Ops& ops, int64_t tokens, int64_t width) {
  Sampler sampler(kSeed);
  std::vector<float> x = sampler.Values(tokens * width);
  ops.RmsNorm(Matrix(std::as_const(x), tokens, width), ConstTensorView(), 1e-5f,
              Matrix(x, tokens, width));
  return x;
}

void AddRowCases(std::vector<Case>& cases) {
  for (const int64_t width : {1, 16, 33, 128}) {
    cases.push_back({absl::StrFormat("RmsNorm without weight width=%d", width),
                     [=](Ops& ops) { return RunPlainNorm(ops, 5, width); }});
  }
  for (const DType dtype : kWeightTypes) {
    const int64_t block = Traits(dtype).block_elements;
    const std::vector<int64_t> widths = IsBlockType(dtype)
                                            ? std::vector<int64_t>{block, 3 * block}
                                            : std::vector<int64_t>{1, 15, 16, 17, 70};
    for (const int64_t width : widths) {
      cases.push_back({absl::StrFormat("Embed %s width=%d", std::string(Name(dtype)), width),
                       [=](Ops& ops) { return RunEmbed(ops, dtype, width); }});
    }
  }
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    for (const int64_t width : {1, 8, 16, 33, 576}) {
      for (const int64_t tokens : {0, 1, 3, 70}) {
        for (const bool in_place : {false, true}) {
          cases.push_back(
              {absl::StrFormat("RmsNorm %s tokens=%d width=%d in_place=%d",
                               std::string(Name(dtype)), tokens, width, in_place),
               [=](Ops& ops) { return RunRmsNorm(ops, dtype, tokens, width, in_place); }});
        }
      }
    }
  }
}

std::vector<float> RunRope(Ops& ops, int64_t tokens, int64_t head_dim, RopeStyle style) {
  Sampler sampler(kSeed);
  constexpr int64_t kHeads = 3;
  constexpr int64_t kPositions = 50;
  std::vector<float> x = sampler.Values(tokens * kHeads * head_dim);
  const std::vector<float> cos = sampler.Values(kPositions * head_dim / 2);
  const std::vector<float> sin = sampler.Values(kPositions * head_dim / 2);
  std::vector<int32_t> positions;
  for (int64_t t = 0; t < tokens; ++t) {
    positions.push_back(static_cast<int32_t>(sampler.Integer(0, kPositions - 1)));
  }
  ops.Rope(Matrix(x, tokens, kHeads * head_dim), head_dim, positions,
           Matrix(cos, kPositions, head_dim / 2), Matrix(sin, kPositions, head_dim / 2), style);
  return x;
}

std::vector<float> RunSiluMul(Ops& ops, int64_t tokens, int64_t width) {
  Sampler sampler(kSeed);
  std::vector<float> gate = sampler.Values(tokens * width);
  // The whole range of Exp, beyond both ends.
  for (size_t i = 0; i < gate.size(); i += 3) gate[i] *= 60.0f;
  const std::vector<float> up = sampler.Values(tokens * width);
  ops.SiluMul(Matrix(gate, tokens, width), Matrix(up, tokens, width));
  return gate;
}

std::vector<float> RunAdd(Ops& ops, int64_t tokens, int64_t width) {
  Sampler sampler(kSeed);
  std::vector<float> x = sampler.Values(tokens * width);
  const std::vector<float> y = sampler.Values(tokens * width);
  ops.Add(Matrix(x, tokens, width), Matrix(y, tokens, width));
  return x;
}

std::vector<float> RunGatherRows(Ops& ops, int64_t width) {
  Sampler sampler(kSeed);
  const std::vector<float> x = sampler.Values(5 * width);
  const std::vector<int32_t> rows = {4, 0, 0, 2};
  std::vector<float> out = Floats(4, width);
  ops.GatherRows(Matrix(x, 5, width), rows, Matrix(out, 4, width));
  return out;
}

void AddElementwiseCases(std::vector<Case>& cases) {
  for (const int64_t tokens : {0, 1, 5, 70}) {
    for (const int64_t head_dim : {2, 14, 16, 64, 128}) {
      for (const RopeStyle style : {RopeStyle::kHalves, RopeStyle::kInterleaved}) {
        cases.push_back({absl::StrFormat("Rope tokens=%d head_dim=%d interleaved=%d", tokens,
                                         head_dim, style == RopeStyle::kInterleaved),
                         [=](Ops& ops) { return RunRope(ops, tokens, head_dim, style); }});
      }
    }
    for (const int64_t width : {1, 16, 37, 1536}) {
      cases.push_back({absl::StrFormat("SiluMul tokens=%d width=%d", tokens, width),
                       [=](Ops& ops) { return RunSiluMul(ops, tokens, width); }});
      cases.push_back({absl::StrFormat("Add tokens=%d width=%d", tokens, width),
                       [=](Ops& ops) { return RunAdd(ops, tokens, width); }});
    }
  }
  for (const int64_t width : {1, 17}) {
    cases.push_back({absl::StrFormat("GatherRows width=%d", width),
                     [=](Ops& ops) { return RunGatherRows(ops, width); }});
  }
}

struct AttentionCase {
  std::string name;
  PageShape pages;
  AttentionShape shape;
  // Rows of each sequence: positions [begin, end) of it are in the batch.
  std::vector<Range> rows;
  // Pages hold only the chunk of so many positions that the rows are in; 0: everything.
  int64_t chunk = 0;
};

std::vector<AttentionCase> AttentionCases() {
  const std::vector<Range> decode = {{0, 1}, {31, 32}, {32, 33}, {99, 100}};
  const std::vector<Range> mixed = {{0, 40}, {50, 51}, {7, 24}};
  std::vector<AttentionCase> cases;
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kQ8_0}) {
    for (const int64_t page_tokens : {16, 32, 64}) {
      const PageShape three{dtype, 3, page_tokens, 64};
      const AttentionShape heads9{9, 3, 3, 0, 0, 64, 0.125f, 0};
      cases.push_back({"decode", three, heads9, decode});
      cases.push_back({"mixed", three, heads9, mixed});
      AttentionShape chunked = heads9;
      chunked.span = 24;
      cases.push_back({"span 24", three, chunked, mixed});
      cases.push_back({"chunk 24", three, chunked, {{24, 40}, {50, 51}, {7, 24}}, 24});
    }
    cases.push_back({"no rows", {dtype, 1, 16, 32}, {1, 1, 1, 0, 0, 32, 1.0f, 0}, {}});
    cases.push_back({"wide", {dtype, 1, 32, 160}, {1, 1, 1, 0, 0, 160, 0.1f, 0}, {{60, 70}}});
    if (IsBlockType(dtype)) continue;  // heads of whole blocks only
    // Query heads 2 to 6 of 9 over KV heads 0 to 2: groups of 1, 3 and 1.
    cases.push_back({"uneven groups", {dtype, 3, 16, 16}, {5, 3, 3, 2, 0, 16, 0.25f, 0}, mixed});
    // Query heads 5 to 8 of 9 on a rank that holds KV heads 1 and 2.
    cases.push_back({"second rank", {dtype, 2, 16, 16}, {4, 2, 3, 5, 1, 16, 0.25f, 0}, mixed});
    cases.push_back({"odd head_dim", {dtype, 2, 16, 20}, {4, 2, 2, 0, 0, 20, 0.2f, 0}, mixed});
    cases.push_back({"wide", {dtype, 1, 32, 144}, {1, 1, 1, 0, 0, 144, 0.1f, 0}, {{60, 70}}});
    cases.push_back({"span 32", {dtype, 1, 16, 16}, {1, 1, 1, 0, 0, 16, 1.0f, 32}, {{60, 70}}});
  }
  return cases;
}

// Stores every position of every sequence, then attends from the rows of the batch. The pages are
// part of the result.
std::vector<float> RunAttention(Ops& ops, const AttentionCase& attention) {
  Sampler sampler(kSeed);
  std::vector<int64_t> lengths;
  std::vector<int32_t> all_positions, all_sequences, positions, sequences;
  for (size_t s = 0; s < attention.rows.size(); ++s) {
    const int64_t end = attention.rows[s].end;
    const int64_t first = attention.chunk == 0 ? 0 : (end - 1) / attention.chunk * attention.chunk;
    lengths.push_back(end - first);
    for (int64_t p = first; p < end; ++p) {
      all_positions.push_back(static_cast<int32_t>(p));
      all_sequences.push_back(static_cast<int32_t>(s));
      if (p < attention.rows[s].begin) continue;
      positions.push_back(static_cast<int32_t>(p));
      sequences.push_back(static_cast<int32_t>(s));
    }
  }
  PagedSequences paged = MakePages(attention.pages, lengths, sampler);
  const auto stored = static_cast<int64_t>(all_positions.size());
  const int64_t kv_width = attention.pages.kv_heads * attention.pages.head_dim;
  const std::vector<float> k = sampler.Values(stored * kv_width);
  const std::vector<float> v = sampler.Values(stored * kv_width);
  ops.StoreKv(Matrix(k, stored, kv_width), Matrix(v, stored, kv_width),
              {all_positions, all_sequences, paged.page_offsets, paged.pages, attention.chunk},
              paged.View());
  const auto tokens = static_cast<int64_t>(positions.size());
  const int64_t width = attention.shape.query_heads * attention.shape.head_dim;
  const std::vector<float> q = sampler.Values(tokens * width);
  std::vector<float> out = Floats(tokens, width);
  ops.Attention(Matrix(q, tokens, width),
                {positions, sequences, paged.page_offsets, paged.pages, attention.chunk},
                paged.View(), attention.shape, Matrix(out, tokens, width));
  const auto page_floats = static_cast<size_t>(paged.k.view().bytes()) / sizeof(float);
  for (const std::byte* data : {paged.k.view().data, paged.v.view().data}) {
    const size_t begin = out.size();
    out.resize(begin + page_floats);
    if (page_floats > 0) std::memcpy(out.data() + begin, data, page_floats * sizeof(float));
  }
  return out;
}

void AddAttentionCases(std::vector<Case>& cases) {
  for (const AttentionCase& attention : AttentionCases()) {
    cases.push_back(
        {absl::StrFormat("Attention %s %s page_tokens=%d", attention.name,
                         std::string(Name(attention.pages.dtype)), attention.pages.page_tokens),
         [=](Ops& ops) { return RunAttention(ops, attention); }});
  }
}

struct CopyCase {
  std::string name;
  DType dtype;
  Shape pages;
  std::vector<int32_t> copies;
};

// The pages after the copies, as the fp32 words of their bytes.
std::vector<float> RunCopyPages(Ops& ops, const CopyCase& item) {
  Tensor pages(item.dtype, item.pages);
  const TensorView view = pages.view();
  for (int64_t i = 0; i < view.bytes(); ++i) {
    view.data[i] = static_cast<std::byte>(i * 7 % 61);  // no exponent of a NaN
  }
  ops.CopyPages(item.copies, view);
  std::vector<float> out = Floats(1, view.bytes() / static_cast<int64_t>(sizeof(float)));
  if (!out.empty()) std::memcpy(out.data(), view.data, out.size() * sizeof(float));
  return out;
}

void AddCopyCases(std::vector<Case>& cases) {
  for (const DType dtype : {DType::kF32, DType::kF16}) {
    for (const CopyCase& item :
         {CopyCase{"none", dtype, {3, 1, 2, 2}, {}}, CopyCase{"one", dtype, {3, 2, 3, 8}, {0, 2}},
          CopyCase{"one to several", dtype, {5, 1, 16, 6}, {4, 0, 4, 2, 4, 3}},
          CopyCase{"several", dtype, {6, 3, 32, 64}, {0, 5, 1, 4, 2, 3}},
          CopyCase{"one after the other", dtype, {4, 1, 2, 4}, {0, 1, 1, 2, 2, 2}},
          CopyCase{"no bytes", dtype, {2, 0, 4, 4}, {0, 1}}}) {
      cases.push_back({absl::StrFormat("CopyPages %s %s", item.name, std::string(Name(dtype))),
                       [=](Ops& ops) { return RunCopyPages(ops, item); }});
    }
  }
}

void ExpectTheBitsOfTheReference(const std::vector<Case>& cases, Arithmetic arithmetic) {
  const std::unique_ptr<Ops> reference = MakeReferenceOps(arithmetic);
  const std::unique_ptr<Ops> without_bf16 = MakeReferenceOps(arithmetic, false);
  const std::vector<Backend> backends = AllCpuBackends(arithmetic);
  ASSERT_FALSE(backends.empty());
  for (const Case& item : cases) {
    const std::vector<float> with = item.run(*reference);
    const std::vector<float> without = item.run(*without_bf16);
    for (const Backend& backend : backends) {
      const std::vector<float>& expected = backend.bf16_products ? with : without;
      const std::vector<float> actual = item.run(*backend.ops);
      const int64_t at = FirstDifference(expected, actual);
      if (at < 0) continue;
      const auto index = static_cast<size_t>(at);
      ADD_FAILURE() << item.name << " on " << backend.name << ": element " << at << " is "
                    << absl::StrFormat("%a, expected %a", actual[index], expected[index]);
    }
  }
}

TEST(Parity, EveryCpuTargetGivesTheBitsOfTheReference) {
  std::vector<Case> cases;
  AddLinearCases(cases);
  AddLeavesCases(cases);
  AddRowCases(cases);
  AddElementwiseCases(cases);
  AddAttentionCases(cases);
  AddExpertCases(cases);
  AddCopyCases(cases);
  ExpectTheBitsOfTheReference(cases, Arithmetic::kFp32);
}

TEST(Parity, NarrowProductsGiveTheBitsOfTheReferenceToo) {
  std::vector<Case> cases;
  AddInt8Cases(cases);
  AddExpertCases(cases);
  ExpectTheBitsOfTheReference(cases, Arithmetic::kNative);
}

}  // namespace
}  // namespace trireme
