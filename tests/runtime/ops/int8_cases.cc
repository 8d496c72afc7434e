// Products in integers: shapes past every tile, leaves of every rank of a mesh, and the values that
// break them.
#include <cstring>
#include <limits>

#include "absl/strings/str_format.h"
#include "tests/runtime/ops/parity_cases.h"
#include "tests/runtime/ops/samples.h"

namespace trireme {
namespace {

constexpr DType kTypes[] = {DType::kQ8_0, DType::kQ4_0, DType::kQ4_1,
                            DType::kQ4_K, DType::kQ5_K, DType::kQ6_K};

struct ProductShape {
  int64_t tokens;
  int64_t outputs;
  int64_t width;
};
// Past the tokens that are multiplied directly and those of a tile (4 each), past 16 outputs and
// two panels, and past the thread threshold.
constexpr ProductShape kShapes[] = {
    {0, 4, 32},  {1, 1, 32},    {1, 16, 64},  {1, 17, 96}, {2, 31, 64},  {3, 15, 32},
    {4, 48, 64}, {5, 33, 160},  {6, 16, 32},  {7, 70, 96}, {8, 32, 64},  {13, 49, 32},
    {16, 1, 64}, {19, 130, 96}, {1, 600, 96}, {1, 0, 32},  {64, 40, 64}, {1, 3, 0},
};

using Values = std::vector<float> (*)(Sampler& sampler, int64_t count);

std::vector<float> UsualValues(Sampler& sampler, int64_t count) { return sampler.Values(count); }

// Groups of one kind each: the greatest product of bytes, zeros, the smallest numbers, the
// greatest.
std::vector<float> ExtremeValues(Sampler& sampler, int64_t count) {
  constexpr float kSmallest = std::numeric_limits<float>::denorm_min();
  constexpr float kKinds[] = {1.0f, 0.0f, kSmallest, 3e-37f, 4e-37f, 1e-30f, 3e38f, -1.0f};
  std::vector<float> values = sampler.Values(count);
  for (size_t i = 0; i < values.size(); ++i) {
    const float kind = kKinds[i / 32 % std::size(kKinds)];
    values[i] = i % 32 < 3 ? kind * 0.25f : kind;
  }
  return values;
}

std::vector<float> Product(Ops& ops, ConstTensorView w, const ProductShape& shape, Values values) {
  Sampler sampler(kSeed);
  const std::vector<float> x = values(sampler, shape.tokens * shape.width);
  std::vector<float> out = Floats(shape.tokens, shape.outputs);
  ops.Linear(Matrix(x, shape.tokens, shape.width), w, Matrix(out, shape.tokens, shape.outputs));
  return out;
}

// Every integer the lowest that a byte can hold, as no writer of ours would store it.
Tensor LowestWeights(DType dtype, const ProductShape& shape) {
  Sampler sampler(kSeed);
  Tensor w = sampler.Weights(dtype, shape.outputs, shape.width);
  const auto bytes = static_cast<size_t>(Traits(dtype).block_bytes);
  const size_t halves = dtype == DType::kQ4_1 ? 4 : 2;
  const auto lowest = static_cast<std::byte>(dtype == DType::kQ8_0 ? 0x80 : 0xFF);
  const std::span<std::byte> all(w.view().data, static_cast<size_t>(w.view().bytes()));
  for (size_t i = 0; i < all.size(); ++i) {
    if (i % bytes >= halves) all[i] = lowest;
  }
  return w;
}

// A rank's product with its columns of a whole matrix.
struct RankCase {
  int64_t tokens;
  int64_t width;
  int rank;
  int ranks;
};
std::vector<float> RunRank(Ops& ops, DType dtype, const RankCase& rank) {
  constexpr int64_t kOutputs = 21;
  Sampler sampler(kSeed);
  Tensor whole = sampler.Weights(dtype, kOutputs, rank.width);
  const std::vector<float> x = sampler.Values(rank.tokens * rank.width);
  const WidthSplit split = SplitWidth(rank.width, 8, rank.rank, rank.ranks);
  const int64_t block = Traits(dtype).block_elements;
  const Range widened{split.columns.begin / block * block,
                      (split.columns.end + block - 1) / block * block};
  std::vector<float> out = Floats(rank.tokens, kOutputs);
  ops.LinearLeaves(Matrix(x, rank.tokens, rank.width).Columns(split.columns),
                   std::as_const(whole).view().Columns(widened),
                   split.columns.begin - widened.begin, split.schedule,
                   Matrix(out, rank.tokens, kOutputs));
  return out;
}

// Three experts, of which the second has no rows.
std::vector<float> RunExperts(Ops& ops, DType dtype, const LeafSchedule* schedule) {
  constexpr int64_t kOutputs = 20;
  constexpr int64_t kWidth = 256;
  Sampler sampler(kSeed);
  std::vector<Tensor> weights;
  std::vector<ExpertMatrix> experts;
  for (int i = 0; i < 3; ++i) {
    weights.push_back(sampler.Weights(dtype, kOutputs, kWidth));
    experts.push_back({.values = std::as_const(weights.back()).view()});
  }
  std::vector<int32_t> offsets = {0, 7, 7, 9};
  Routing routing;
  routing.held = {0, 3};
  routing.offsets = offsets;
  const std::vector<float> x = sampler.Values(9 * kWidth);
  std::vector<float> out = Floats(9, kOutputs);
  ops.ExpertLinear(Matrix(x, 9, kWidth), experts, routing, schedule, Matrix(out, 9, kOutputs));
  return out;
}

}  // namespace

void AddInt8Cases(std::vector<ParityCase>& cases) {
  for (const DType dtype : kTypes) {
    const std::string type(Name(dtype));
    const int64_t block = Traits(dtype).block_elements;
    for (ProductShape shape : kShapes) {
      shape.width = shape.width * block / 32;
      cases.push_back({absl::StrFormat("Linear %s tokens=%d outputs=%d k=%d", type, shape.tokens,
                                       shape.outputs, shape.width),
                       [=](Ops& ops) {
                         Sampler sampler(kSeed + 1);
                         Tensor w = sampler.Weights(dtype, shape.outputs, shape.width);
                         return Product(ops, std::as_const(w).view(), shape, UsualValues);
                       }});
    }
    for (const int64_t tokens : {1, 9}) {
      if (block > 32) break;
      const ProductShape shape{tokens, 18, 8 * 32};
      for (const Values values : {UsualValues, ExtremeValues}) {
        cases.push_back(
            {absl::StrFormat("Linear of the lowest %s tokens=%d", type, tokens), [=](Ops& ops) {
               Tensor w = LowestWeights(dtype, shape);
               return Product(ops, std::as_const(w).view(), shape, values);
             }});
      }
    }
    cases.push_back({absl::StrFormat("ExpertLinear %s", type),
                     [=](Ops& ops) { return RunExperts(ops, dtype, nullptr); }});
    cases.push_back({absl::StrFormat("ExpertLinear %s of leaves", type), [=](Ops& ops) {
                       const LeafSchedule leaves = SplitWidth(256, 8, 0, 1).schedule;
                       return RunExperts(ops, dtype, &leaves);
                     }});
    // Leaves of 32, of 64 and of 96 columns, and those that do not end on groups.
    for (const int64_t width : {256, 512, 768, 320, 64}) {
      if (width % block != 0) continue;
      for (const RankCase& rank :
           {RankCase{1, width, 0, 1}, {7, width, 0, 1}, {1, width, 1, 2}, {5, width, 3, 4}}) {
        cases.push_back({absl::StrFormat("LinearLeaves %s tokens=%d k=%d rank %d of %d", type,
                                         rank.tokens, width, rank.rank, rank.ranks),
                         [=](Ops& ops) { return RunRank(ops, dtype, rank); }});
      }
    }
  }
}

}  // namespace trireme
