// After warm-up a decode step allocates nothing but what its result carries. The counter stands in
// for the whole program's operator new, so it sees every thread of the backend too.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>
#include <string>
#include <utility>

#include "runtime/checkpoint/checkpoint.h"
#include "runtime/model/architecture.h"
#include "runtime/stage/local_executor.h"
#include "tests/support/status_matchers.h"

namespace {

std::atomic<int64_t> allocations{0};

void* Allocate(std::size_t bytes, std::size_t alignment) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  const std::size_t rounded = (bytes + alignment - 1) / alignment * alignment;
  void* memory = std::aligned_alloc(alignment, rounded);
  if (memory == nullptr) std::abort();
  return memory;
}

}  // namespace

void* operator new(std::size_t bytes) { return Allocate(bytes, __STDCPP_DEFAULT_NEW_ALIGNMENT__); }
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return Allocate(bytes, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

namespace trireme {
namespace {

constexpr int kPageTokens = 16;
constexpr int kPositions = 96;

std::unique_ptr<LocalExecutor> MakeExecutor(const std::string& model) {
  auto checkpoint = OpenCheckpoint(std::string(TRIREME_SOURCE_DIR) + "/tests/data/models/" + model);
  EXPECT_OK(checkpoint);
  StageParts parts;
  parts.config = *ConfigOf(*checkpoint);
  parts.architecture = *FindArchitecture(parts.config.architecture);
  parts.extent = *MakeExtent(parts.config, {});
  parts.weights = *Weights::Bind(parts.architecture->tensors(parts.config), parts.extent,
                                 std::move(checkpoint->tensors));
  parts.ops = *MakeCpuOps({.threads = 2});
  auto stage = Stage::Create(std::move(parts), {.pages = kPositions / kPageTokens,
                                                .chunk_pages = kPositions / kPageTokens,
                                                .page_tokens = kPageTokens,
                                                .max_step_tokens = 8,
                                                .max_positions = kPositions});
  EXPECT_OK(stage);
  return std::make_unique<LocalExecutor>(*std::move(stage));
}

// One sequence, one token.
StepPlan DecodePlan(int position, int64_t chunk, const SamplingParams& params) {
  StepPlan plan;
  plan.step = static_cast<uint64_t>(position) + 1;
  plan.tokens = {position % 7};
  plan.positions = {position};
  plan.span_offsets = {0, 1};
  for (int page = 0; page <= position / kPageTokens; ++page) plan.pages.push_back(page);
  plan.page_offsets = {0, static_cast<int32_t>(plan.pages.size())};
  if (chunk > 0) {
    const auto in_chunk = static_cast<int>(position % chunk);
    for (int page = 0; page <= in_chunk / kPageTokens; ++page) plan.chunk_pages.push_back(page);
    plan.chunk_page_offsets = {0, static_cast<int32_t>(plan.chunk_pages.size())};
  }
  plan.samples = {{.row = 0, .draw = static_cast<uint32_t>(position), .params = params}};
  return plan;
}

class StepAllocations : public testing::TestWithParam<const char*> {};

TEST_P(StepAllocations, OnlyTheResultsOwn) {
  const auto executor = MakeExecutor(GetParam());
  const auto checkpoint =
      OpenCheckpoint(std::string(TRIREME_SOURCE_DIR) + "/tests/data/models/" + GetParam());
  const int64_t chunk = AttentionChunk(*ConfigOf(*checkpoint));
  const SamplingParams filtered{.temperature = 0.8F, .top_k = 40, .top_p = 0.9F, .min_p = 0.01F};
  for (int position = 0; position < kPositions; ++position) {
    const StepPlan plan =
        DecodePlan(position, chunk, position % 2 == 0 ? SamplingParams{} : filtered);
    const int64_t before = allocations.load();
    const absl::Status submitted = executor->Submit(plan, [] {});
    const auto result = executor->Await(Deadline::AfterMs(1000));
    const int64_t made = allocations.load() - before;
    ASSERT_OK(submitted);
    ASSERT_OK(result);
    ASSERT_EQ(result->samples.size(), 1U);
    const int64_t list_of_samples = 1;
    if (position >= kPositions / 2) {
      EXPECT_EQ(made, list_of_samples) << "at position " << position;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, StepAllocations,
                         testing::Values("llama3-tiny-bf16", "llama4-maverick-tiny"),
                         [](const auto& model) {
                           std::string name = model.param;
                           std::erase(name, '-');
                           return name;
                         });

}  // namespace
}  // namespace trireme
