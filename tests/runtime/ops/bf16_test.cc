// Products with BF16 weights in native arithmetic: the bits of the reference on every target that
// has the instruction, the fp32 arithmetic on those that have not.
#include <bit>
#include <cmath>
#include <random>
#include <vector>

#include "absl/strings/str_format.h"
#include "gtest/gtest.h"
#include "runtime/ops/ops.h"
#include "tests/runtime/ops/parity_cases.h"
#include "tests/runtime/ops/samples.h"

namespace trireme {
namespace {

std::vector<Backend> Bf16Backends() {
  std::vector<Backend> backends = AllCpuBackends(Arithmetic::kNative);
  std::erase_if(backends, [](const Backend& backend) { return !backend.bf16_products; });
  return backends;
}

// Index of the first element whose bits differ, NaN being NaN; -1: none.
int64_t FirstOtherNumber(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const bool both_nan = std::isnan(a[i]) && std::isnan(b[i]);
    if (!both_nan && std::bit_cast<uint32_t>(a[i]) != std::bit_cast<uint32_t>(b[i])) {
      return static_cast<int64_t>(i);
    }
  }
  return -1;
}

// A product of x [tokens, width] with weights of BF16 [outputs, width] in leaves.
struct Product {
  int64_t tokens = 1;
  int64_t outputs = 1;
  LeafSchedule schedule;
  int64_t w_offset = 0;

  int64_t width() const { return schedule.leaves.back().end; }
};

std::vector<float> RunProduct(Ops& ops, const Product& product) {
  Sampler sampler(kSeed);
  // Rows of the weights and of x are strided, at odd offsets.
  const int64_t columns = product.width() + product.w_offset;
  Tensor whole = sampler.Weights(DType::kBF16, product.outputs, columns + 5);
  const ConstTensorView w = std::as_const(whole).view().Columns({3, 3 + columns});
  const std::vector<float> values = sampler.Values(product.tokens * (product.width() + 3));
  const ConstTensorView x =
      Matrix(values, product.tokens, product.width() + 3).Columns({1, 1 + product.width()});
  std::vector<float> out = Floats(product.tokens, product.outputs);
  ops.LinearLeaves(x, w, product.w_offset, product.schedule,
                   Matrix(out, product.tokens, product.outputs));
  return out;
}

LeafSchedule OneLeaf(int64_t width) { return {{{0, width}}, {}, width}; }

std::vector<Product> Products() {
  const LeafSchedule uneven{{{0, 5}, {5, 38}, {38, 38}, {38, 151}}, {{0, 1}, {2, 3}, {0, 2}}};
  std::vector<Product> products;
  // 0, every width of a tile and those around, several tiles.
  for (const int64_t tokens : {0, 1, 2, 3, 4, 5, 8, 9, 16, 17, 21, 25, 33, 48, 49, 70, 130}) {
    products.push_back({tokens, 21, OneLeaf(70)});
    products.push_back({tokens, 40, uneven, 2});
    products.push_back({tokens, 18, SplitHeads(9, 3, 64, 0, 2).schedule, 0});
    products.push_back({tokens, 3, OneLeaf(4500)});
  }
  for (const int64_t width : {1, 2, 31, 32, 33, 63, 64, 2048, 2049}) {
    products.push_back({1, 5, OneLeaf(width)});
    products.push_back({20, 5, OneLeaf(width)});
  }
  for (const int64_t outputs : {0, 1, 7, 8, 15, 16, 17, 400}) {
    products.push_back({2, outputs, OneLeaf(96)});
    products.push_back({60, outputs, OneLeaf(96)});
  }
  return products;
}

TEST(Bf16Products, GiveTheBitsOfTheReference) {
  const std::unique_ptr<Ops> reference = MakeReferenceOps(Arithmetic::kNative);
  const std::vector<Backend> backends = Bf16Backends();
  if (backends.empty()) GTEST_SKIP() << "this processor has no BF16 dot product";
  for (const Product& product : Products()) {
    const std::vector<float> expected = RunProduct(*reference, product);
    for (const Backend& backend : backends) {
      const int64_t at = FirstDifference(expected, RunProduct(*backend.ops, product));
      EXPECT_LT(at, 0) << backend.name << ", " << product.tokens << " tokens, " << product.outputs
                       << " outputs, width " << product.width();
    }
  }
}

// Three rows of two columns: the instruction on operands of one's choice. The first pair makes the
// sum that the second is added to.
std::vector<float> RunPairs(Ops& ops, const std::vector<float>& x,
                            const std::vector<uint16_t>& weights) {
  const auto outputs = static_cast<int64_t>(weights.size() / 4);
  std::vector<float> out = Floats(1, outputs);
  const ConstTensorView w(reinterpret_cast<const std::byte*>(weights.data()), DType::kBF16,
                          Shape{outputs, 4});
  ops.Linear(Matrix(x, 1, 4), w, Matrix(out, 1, outputs));
  return out;
}

// Bits whose exponents lie in [low, low + count), and now and then at the ends of the range.
uint32_t RandomBits(std::mt19937& random, uint32_t low, uint32_t count) {
  const uint32_t exponent = random() % 16 == 0 ? random() % 2 * 255 : low + random() % count;
  return (random() & 0x807FFFFFu) | (exponent << 23);
}

TEST(Bf16Products, DoWhatTheInstructionDoesOnAnyOperands) {
  const std::vector<Backend> backends = Bf16Backends();
  if (backends.empty()) GTEST_SKIP() << "this processor has no BF16 dot product";
  const std::unique_ptr<Ops> reference = MakeReferenceOps(Arithmetic::kNative);
  std::mt19937 random(7);
  struct Exponents {
    uint32_t low;
    uint32_t count;
  };
  // Everything; numbers that cancel; products around the least normal number.
  for (const Exponents& exponents : {Exponents{0, 256}, Exponents{120, 14}, Exponents{55, 12}}) {
    for (int round = 0; round < 300; ++round) {
      std::vector<float> x;
      std::vector<uint16_t> weights;
      for (int i = 0; i < 4; ++i) {
        x.push_back(std::bit_cast<float>(RandomBits(random, exponents.low, exponents.count)));
      }
      for (int i = 0; i < 4 * 100; ++i) {
        weights.push_back(
            static_cast<uint16_t>(RandomBits(random, exponents.low, exponents.count) >> 16));
      }
      const std::vector<float> expected = RunPairs(*reference, x, weights);
      const std::vector<float> actual = RunPairs(*backends.front().ops, x, weights);
      const int64_t at = FirstOtherNumber(expected, actual);
      ASSERT_LT(at, 0) << absl::StrFormat("round %d: %a, expected %a", round,
                                          actual[static_cast<size_t>(at)],
                                          expected[static_cast<size_t>(at)]);
    }
  }
}

// A result is tiny, and so zero, if it is so before its mantissa is cut for want of exponents.
TEST(Bf16Products, FlushWhatWouldOnlyRoundUpToANormalNumber) {
  const std::vector<Backend> backends = Bf16Backends();
  if (backends.empty()) GTEST_SKIP() << "this processor has no BF16 dot product";
  const std::unique_ptr<Ops> reference = MakeReferenceOps(Arithmetic::kNative);
  // 2^-126 - 2^-126 * m * 2^-e, for m in [1, 2) and e around the end of the mantissa.
  for (int e = 20; e <= 28; ++e) {
    for (int m = 0; m < 128; ++m) {
      const std::vector<float> x = {0.0f, 0x1p-64f, 0.0f, 0x1p-64f};
      const float least = 0x1p-62f;
      const float less = -std::ldexp(1.0f + static_cast<float>(m) / 128, -62 - e);
      const auto half = [](float value) {
        return static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16);
      };
      const std::vector<uint16_t> weights = {0, half(least), 0, half(less)};
      EXPECT_LT(FirstOtherNumber(RunPairs(*reference, x, weights),
                                 RunPairs(*backends.front().ops, x, weights)),
                0)
          << e << " " << m;
    }
  }
}

TEST(Bf16Products, ARowOfABatchEqualsTheRowAlone) {
  for (const Backend& backend : Bf16Backends()) {
    Sampler sampler(3);
    constexpr int64_t kTokens = 75;
    constexpr int64_t kOutputs = 50;
    constexpr int64_t kColumns = 144;
    Tensor w = sampler.Weights(DType::kBF16, kOutputs, kColumns);
    const std::vector<float> x = sampler.Values(kTokens * kColumns);
    std::vector<float> all = Floats(kTokens, kOutputs);
    backend.ops->Linear(Matrix(x, kTokens, kColumns), std::as_const(w).view(),
                        Matrix(all, kTokens, kOutputs));
    for (int64_t count = 1; count < kTokens; count += count < 20 ? 1 : 7) {
      std::vector<float> some = Floats(count, kOutputs);
      const int64_t first = kTokens - count;
      backend.ops->Linear(Matrix(x, kTokens, kColumns).Rows({first, kTokens}),
                          std::as_const(w).view(), Matrix(some, count, kOutputs));
      const std::vector<float> expected(all.end() - count * kOutputs, all.end());
      EXPECT_LT(FirstDifference(expected, some), 0) << backend.name << ", " << count << " tokens";
    }
  }
}

}  // namespace
}  // namespace trireme
