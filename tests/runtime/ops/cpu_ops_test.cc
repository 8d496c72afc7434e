// What the CPU backend promises beyond the bits: how it is made, and that it allocates nothing once
// warm.
#include <sys/mman.h>

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <new>

#include "absl/strings/match.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/ops/decode_row.h"
#include "runtime/ops/ops.h"
#include "tests/runtime/ops/samples.h"

namespace {

std::atomic<int64_t> allocations{0};

void* CountedAllocation(size_t size) {
  allocations.fetch_add(1);
  void* memory = std::malloc(size == 0 ? 1 : size);
  if (memory == nullptr) std::abort();
  return memory;
}

}  // namespace

// Replaces the global allocation functions of this test binary.
void* operator new(size_t size) { return CountedAllocation(size); }
void* operator new[](size_t size) { return CountedAllocation(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t) noexcept { std::free(memory); }

namespace trireme {
namespace {

TEST(MakeCpuOps, RefusesATargetThatTheMachineLacksAndListsTheOthers) {
  const auto ops = MakeCpuOps({.threads = 1, .target = "AVX9"});
  ASSERT_FALSE(ops.ok());
  EXPECT_EQ(ops.status().code(), absl::StatusCode::kInvalidArgument);
  const std::string message(ops.status().message());
  EXPECT_THAT(message, testing::HasSubstr("AVX9"));
  for (const std::string& target : CpuTargets()) EXPECT_THAT(message, testing::HasSubstr(target));
}

TEST(MakeCpuOps, RefusesZeroThreads) {
  EXPECT_EQ(MakeCpuOps({.threads = 0}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(MakeCpuOps, TakesTheBestTargetUnlessTold) {
  const std::vector<std::string> targets = CpuTargets();
  ASSERT_FALSE(targets.empty());
  EXPECT_EQ((*MakeCpuOps({}))->name(), "cpu " + targets.front());
  EXPECT_EQ((*MakeCpuOps({.target = targets.back()}))->name(), "cpu " + targets.back());
}

TEST(CpuOps, AllocatesNothingOnceWarm) {
  constexpr int64_t kTokens = 12;
  constexpr int64_t kWidth = 256;
  Sampler sampler(1);
  std::vector<Tensor> weights;
  for (const DType dtype : kWeightTypes) {
    weights.push_back(sampler.Weights(dtype, 300, kWidth));
  }
  const std::vector<float> x = sampler.Values(kTokens * kWidth);
  std::vector<float> out(kTokens * 300);
  const LeafSchedule schedule = SplitWidth(kWidth, 8, 0, 1).schedule;
  const int64_t lengths[] = {40};
  PagedSequences paged = MakePages({DType::kF16, 4, 16, 64}, lengths, sampler);
  const std::vector<int32_t> positions = {28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39};
  const std::vector<int32_t> sequences(kTokens, 0);
  const RowIndex rows{positions, sequences, paged.page_offsets, paged.pages};
  std::vector<float> attended(kTokens * kWidth);
  for (const Backend& backend : AllCpuBackends()) {
    const auto step = [&] {
      for (const Tensor& w : weights) {
        for (const int64_t tokens : {int64_t{1}, kTokens}) {
          const ConstTensorView rows_of_x = Matrix(x, kTokens, kWidth).Rows({0, tokens});
          backend.ops->Linear(rows_of_x, w.view(), Matrix(out, kTokens, 300).Rows({0, tokens}));
          backend.ops->LinearLeaves(rows_of_x, w.view(), 0, schedule,
                                    Matrix(out, kTokens, 300).Rows({0, tokens}));
        }
      }
      backend.ops->StoreKv(Matrix(x, kTokens, kWidth), Matrix(x, kTokens, kWidth), rows,
                           paged.View());
      backend.ops->Attention(Matrix(x, kTokens, kWidth), rows, paged.View(),
                             {4, 4, 1, 0, 0, 64, 0.125f, 0}, Matrix(attended, kTokens, kWidth));
    };
    step();
    const int64_t before = allocations.load();
    step();
    EXPECT_EQ(allocations.load() - before, 0) << backend.name;
  }
}

// What an error made of one value must not look like a result.
TEST(CpuOps, StoresABlockWithAValueThatIsNotFiniteAsNaN) {
  constexpr int64_t kHeadDim = 64;
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  std::vector<Backend> backends = AllCpuBackends();
  backends.push_back({"reference", MakeReferenceOps()});
  for (const float bad : {kInfinity, -kInfinity, std::numeric_limits<float>::quiet_NaN()}) {
    Sampler sampler(1);
    std::vector<float> row = sampler.Values(kHeadDim);
    row[37] = bad;
    const int64_t lengths[] = {1};
    for (const Backend& backend : backends) {
      PagedSequences paged = MakePages({DType::kQ8_0, 1, 16, kHeadDim}, lengths, sampler);
      const std::vector<int32_t> zero = {0};
      backend.ops->StoreKv(Matrix(row, 1, kHeadDim), Matrix(row, 1, kHeadDim),
                           {zero, zero, paged.page_offsets, paged.pages}, paged.View());
      std::vector<float> stored(kHeadDim);
      DecodeRow(DType::kQ8_0, paged.k.view().data, {0, kHeadDim}, stored);
      for (size_t i = 0; i < stored.size(); ++i) {
        EXPECT_EQ(std::isnan(stored[i]), i >= 32) << backend.name << " " << i;
      }
    }
  }
}

// An expert that no token chose may lie in a file that was never read.
TEST(CpuOps, TouchesNoMemoryOfAnExpertWithoutTokens) {
  constexpr int64_t kWidth = 64;
  constexpr int64_t kOutputs = 128;
  const size_t bytes = kOutputs * kWidth * sizeof(float);
  void* forbidden = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(forbidden, MAP_FAILED);
  Sampler sampler(1);
  Tensor held = sampler.Weights(DType::kF32, kOutputs, kWidth);
  for (const bool input_major : {false, true}) {
    const Shape shape = input_major ? Shape{kWidth, kOutputs} : Shape{kOutputs, kWidth};
    const ConstTensorView idle(static_cast<const std::byte*>(forbidden), DType::kF32, shape);
    const ExpertMatrix experts[] = {{.values = idle, .scales = {}, .input_major = input_major},
                                    {.values = std::as_const(held).view().Reshaped(shape),
                                     .scales = {},
                                     .input_major = input_major},
                                    {.values = idle, .scales = {}, .input_major = input_major}};
    for (const int64_t tokens : {1, 3, 20}) {
      std::vector<int32_t> offsets = {0, 0, static_cast<int32_t>(tokens),
                                      static_cast<int32_t>(tokens)};
      Routing routing;
      routing.held = {0, 3};
      routing.offsets = offsets;
      const std::vector<float> x = sampler.Values(tokens * kWidth);
      std::vector<float> out(static_cast<size_t>(tokens * kOutputs));
      for (const Backend& backend : AllCpuBackends()) {
        backend.ops->ExpertLinear(Matrix(x, tokens, kWidth), experts, routing, nullptr,
                                  Matrix(out, tokens, kOutputs));
      }
    }
  }
  munmap(forbidden, bytes);
}

}  // namespace
}  // namespace trireme
