// The properties that the numerics promise of a whole model, verb by verb: neither the batch, nor
// how a prompt is cut, nor the size of pages, nor the number of ranks changes a bit. They hold for
// the reference and for the CPU backend alike.
#include <cmath>
#include <cstring>
#include <map>

#include "absl/strings/str_format.h"
#include "gtest/gtest.h"
#include "runtime/ops/collectives.h"
#include "runtime/ops/ops.h"
#include "tests/runtime/ops/samples.h"

namespace trireme {
namespace {

std::vector<Backend> ReferenceAndCpu(Arithmetic arithmetic = Arithmetic::kFp32) {
  std::vector<Backend> backends = AllCpuBackends(arithmetic);
  backends.push_back({"reference", MakeReferenceOps(arithmetic)});
  return backends;
}

class EachArithmetic : public testing::TestWithParam<Arithmetic> {};
INSTANTIATE_TEST_SUITE_P(Linear, EachArithmetic,
                         testing::Values(Arithmetic::kFp32, Arithmetic::kNative));

TEST_P(EachArithmetic, ARowOfABatchEqualsTheRowAlone) {
  for (const Backend& backend : ReferenceAndCpu(GetParam())) {
    for (const DType dtype : kWeightTypes) {
      Sampler sampler(11);
      constexpr int64_t kTokens = 23;
      constexpr int64_t kOutputs = 21;
      const int64_t width = IsBlockType(dtype) ? 512 : 100;
      Tensor w = sampler.Weights(dtype, kOutputs, width);
      const ConstTensorView weights = std::as_const(w).view();
      const std::vector<float> x = sampler.Values(kTokens * width);
      std::vector<float> batch(kTokens * kOutputs);
      backend.ops->Linear(Matrix(x, kTokens, width), weights, Matrix(batch, kTokens, kOutputs));
      for (int64_t t = 0; t < kTokens; ++t) {
        std::vector<float> alone(kOutputs);
        backend.ops->Linear(Matrix(x, kTokens, width).Rows({t, t + 1}), weights,
                            Matrix(alone, 1, kOutputs));
        const auto row = std::span(batch).subspan(static_cast<size_t>(t * kOutputs), kOutputs);
        EXPECT_EQ(FirstDifference(row, alone), -1) << backend.name << " " << Name(dtype);
      }
    }
  }
}

// Every rank's LinearLeaves on its slice of columns, and the ranks' results added as TreeSum does.
struct RankSlice {
  Range columns;
  LeafSchedule schedule;
};
std::vector<float> SumOverRanks(Ops& ops, ConstTensorView x, ConstTensorView w,
                                const std::vector<RankSlice>& slices) {
  std::vector<std::vector<float>> sums;
  const int64_t block = Traits(w.dtype).block_elements;
  for (const RankSlice& slice : slices) {
    std::vector<float> out(static_cast<size_t>(x.rows() * w.rows()), 5.0f);
    // A slice of block types is widened to whole blocks.
    const int64_t begin = slice.columns.begin / block * block;
    const int64_t end = (slice.columns.end + block - 1) / block * block;
    ops.LinearLeaves(x.Columns(slice.columns), w.Columns({begin, std::max(begin, end)}),
                     slice.columns.begin - begin, slice.schedule, Matrix(out, x.rows(), w.rows()));
    sums.push_back(std::move(out));
  }
  for (size_t step = 1; step < sums.size(); step *= 2) {
    for (size_t rank = 0; rank < sums.size(); rank += 2 * step) {
      for (size_t i = 0; i < sums[rank].size(); ++i) sums[rank][i] += sums[rank + step][i];
    }
  }
  return sums[0];
}

TEST_P(EachArithmetic, AnyNumberOfRanksGivesTheBitsOfOne) {
  const std::vector<Backend> backends = ReferenceAndCpu(GetParam());
  for (uint64_t seed = 0; seed < 60; ++seed) {
    Sampler sampler(seed);
    const DType dtype = kWeightTypes[sampler.Integer(0, std::ssize(kWeightTypes) - 1)];
    const bool by_heads = sampler.Integer(0, 1) == 0;
    const int64_t kv_heads = sampler.Integer(1, 5);
    const int64_t query_heads = kv_heads * sampler.Integer(1, 4);
    const int64_t head_dim = int64_t{16} << sampler.Integer(0, 2);
    const int64_t block = Traits(dtype).block_elements;
    int64_t width = by_heads ? query_heads * head_dim : sampler.Integer(8, 700);
    if (!by_heads && seed % 3 == 0) width = (width + 255) / 256 * 256;  // leaves of whole groups
    if (by_heads && width % block != 0) continue;
    width = (width + block - 1) / block * block;
    const int64_t tokens = sampler.Integer(1, 8);
    Tensor w = sampler.Weights(dtype, 5, width);
    const std::vector<float> x = sampler.Values(tokens * width);
    std::map<bool, std::vector<float>> expected_of_class;  // with and without BF16 products
    for (const int ranks : {1, 2, 4, 8}) {
      std::vector<RankSlice> slices;
      for (int rank = 0; rank < ranks; ++rank) {
        if (by_heads) {
          const HeadSplit split = SplitHeads(query_heads, kv_heads, head_dim, rank, ranks);
          slices.push_back({{split.query_heads.begin * head_dim, split.query_heads.end * head_dim},
                            split.schedule});
        } else {
          const WidthSplit split = SplitWidth(width, 8, rank, ranks);
          slices.push_back({split.columns, split.schedule});
        }
      }
      for (const Backend& backend : backends) {
        const std::vector<float> sum =
            SumOverRanks(*backend.ops, Matrix(x, tokens, width), std::as_const(w).view(), slices);
        std::vector<float>& expected = expected_of_class[backend.bf16_products];
        if (expected.empty()) expected = sum;
        EXPECT_EQ(FirstDifference(expected, sum), -1)
            << absl::StrFormat("seed=%d ranks=%d %s %s by_heads=%d width=%d", seed, ranks,
                               backend.name, std::string(Name(dtype)), by_heads, width);
      }
    }
  }
}

// One sequence through attention, `step` positions at a time, on pages of `page_tokens`.
struct AttentionRun {
  int64_t length = 0;
  int64_t step = 0;
  int64_t page_tokens = 0;
  DType dtype = DType::kF32;
  int64_t span = 0;
};
std::vector<float> RunSequence(Ops& ops, const AttentionRun& run) {
  Sampler sampler(77);
  constexpr int64_t kHeadDim = 32;
  constexpr int64_t kKvHeads = 2;
  constexpr int64_t kHeads = 6;
  const AttentionShape shape{kHeads, kKvHeads, 3, 0, 0, kHeadDim, 0.17f, run.span};
  // Random before the pages, whose order must not matter either.
  const std::vector<float> k = sampler.Values(run.length * kKvHeads * kHeadDim);
  const std::vector<float> v = sampler.Values(run.length * kKvHeads * kHeadDim);
  const std::vector<float> q = sampler.Values(run.length * kHeads * kHeadDim);
  const int64_t lengths[] = {run.length};
  PagedSequences paged =
      MakePages({run.dtype, kKvHeads, run.page_tokens, kHeadDim}, lengths, sampler);
  std::vector<float> out(q.size());
  const std::vector<int32_t> sequences(static_cast<size_t>(run.length), 0);
  std::vector<int32_t> positions;
  for (int32_t p = 0; p < run.length; ++p) positions.push_back(p);
  for (int64_t begin = 0; begin < run.length; begin += run.step) {
    const Range rows{begin, std::min(begin + run.step, run.length)};
    const auto first = static_cast<size_t>(rows.begin);
    const auto count = static_cast<size_t>(rows.size());
    const RowIndex index{std::span(positions).subspan(first, count),
                         std::span(sequences).subspan(first, count), paged.page_offsets,
                         paged.pages};
    ops.StoreKv(Matrix(k, run.length, kKvHeads * kHeadDim).Rows(rows),
                Matrix(v, run.length, kKvHeads * kHeadDim).Rows(rows), index, paged.View());
    ops.Attention(Matrix(q, run.length, kHeads * kHeadDim).Rows(rows), index, paged.View(), shape,
                  Matrix(out, run.length, kHeads * kHeadDim).Rows(rows));
  }
  return out;
}

TEST(Attention, NeitherTheCutOfAPromptNorThePageSizeChangesABit) {
  for (const Backend& backend : ReferenceAndCpu()) {
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kQ8_0}) {
      for (const int64_t span : {0, 40}) {
        const AttentionRun whole{101, 101, 16, dtype, span};
        const std::vector<float> expected = RunSequence(*backend.ops, whole);
        for (const int64_t step : {1, 7, 32, 101}) {
          for (const int64_t page_tokens : {16, 32, 64}) {
            const AttentionRun run{101, step, page_tokens, dtype, span};
            EXPECT_EQ(FirstDifference(expected, RunSequence(*backend.ops, run)), -1)
                << backend.name << " step=" << step << " page_tokens=" << page_tokens;
          }
        }
      }
    }
  }
}

// The online softmax against the formula in double.
TEST(Attention, IsSoftmaxAttention) {
  const AttentionRun run{70, 70, 16, DType::kF32, 0};
  const std::unique_ptr<Ops> reference = MakeReferenceOps();
  const std::vector<float> out = RunSequence(*reference, run);
  Sampler sampler(77);
  constexpr int64_t kHeadDim = 32;
  const std::vector<float> k = sampler.Values(run.length * 2 * kHeadDim);
  const std::vector<float> v = sampler.Values(run.length * 2 * kHeadDim);
  const std::vector<float> q = sampler.Values(run.length * 6 * kHeadDim);
  const auto at = [](const std::vector<float>& values, int64_t i) {
    return static_cast<double>(values[static_cast<size_t>(i)]);
  };
  for (const int64_t token : {0, 31, 32, 69}) {
    for (int64_t head = 0; head < 6; ++head) {
      std::vector<double> scores;
      double highest = -1e300;
      for (int64_t p = 0; p <= token; ++p) {
        double score = 0;
        for (int64_t d = 0; d < kHeadDim; ++d) {
          score +=
              at(q, (token * 6 + head) * kHeadDim + d) * at(k, (p * 2 + head / 3) * kHeadDim + d);
        }
        scores.push_back(score * static_cast<double>(0.17f));
        highest = std::max(highest, scores.back());
      }
      double total = 0;
      for (double& score : scores) total += score = std::exp(score - highest);
      for (int64_t d = 0; d < kHeadDim; ++d) {
        double expected = 0;
        for (int64_t p = 0; p <= token; ++p) {
          expected +=
              scores[static_cast<size_t>(p)] / total * at(v, (p * 2 + head / 3) * kHeadDim + d);
        }
        EXPECT_NEAR(at(out, (token * 6 + head) * kHeadDim + d), expected,
                    1e-5 * (1 + std::abs(expected)));
      }
    }
  }
}

TEST(SoloCollectives, LeavesSumsAloneAndCopiesGathers) {
  SoloCollectives solo;
  std::vector<float> sum = {1, 2, 3, 4};
  solo.TreeSum(Matrix(sum, 2, 2), "test");
  EXPECT_EQ(sum, (std::vector<float>{1, 2, 3, 4}));
  std::vector<float> all(4);
  const int64_t widths[] = {2};
  solo.AllGather(Matrix(sum, 2, 2), widths, Matrix(all, 2, 2), "test");
  EXPECT_EQ(all, sum);
  EXPECT_TRUE(solo.status().ok());
}

}  // namespace
}  // namespace trireme
