// What routed experts report of their loads: the same from every mesh, and each token once.
#include <gtest/gtest.h>

#include <numeric>
#include <span>

#include "parallel/mesh.h"
#include "tests/support/mesh_run.h"
#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

// Of llama4-maverick-tiny: every second layer is routed, to one of the experts.
constexpr size_t kLayers = 8;
constexpr size_t kExperts = 8;

std::string Maverick() {
  return std::string(TRIREME_SOURCE_DIR) + "/tests/data/models/llama4-maverick-tiny";
}

// After a prompt's first `tokens` tokens and one drawn.
EngineStatus StatusAfter(const std::string& model, size_t tokens, const Mesh& mesh,
                         int64_t max_step_tokens) {
  Request request;
  for (size_t i = 0; i < tokens; ++i) request.prompt.push_back(static_cast<int32_t>(3 + i * 7));
  request.max_tokens = 1;
  auto outcome = RunMesh({.model = model,
                          .stages = mesh.pp,
                          .shards = mesh.shards(),
                          .expert_groups = mesh.ep,
                          .max_step_tokens = max_step_tokens},
                         {request});
  EXPECT_OK(outcome);
  return outcome.ok() ? std::move(outcome->status) : EngineStatus();
}

int64_t Sum(std::span<const int64_t> loads) {
  return std::accumulate(loads.begin(), loads.end(), int64_t{0});
}

void ExpectTokensOnRoutedLayers(const EngineStatus& status, int64_t tokens) {
  EXPECT_EQ(status.experts, static_cast<int64_t>(kExperts));
  ASSERT_EQ(status.expert_loads.size(), kLayers * kExperts);
  for (size_t layer = 0; layer < kLayers; ++layer) {
    EXPECT_EQ(Sum(std::span(status.expert_loads).subspan(layer * kExperts, kExperts)),
              layer % 2 == 1 ? tokens : 0)
        << "layer " << layer;
  }
}

TEST(ExpertLoads, CountEachTokenOnceOnEachRoutedLayer) {
  ExpectTokensOnRoutedLayers(StatusAfter(Maverick(), 30, {}, 256), 30);
}

TEST(ExpertLoads, AreTheSameFromEveryMesh) {
  const EngineStatus alone = StatusAfter(Maverick(), 30, {}, 256);
  for (const Mesh& mesh : std::vector<Mesh>{
           {.tp = 2}, {.ep = 2}, {.pp = 2}, {.pp = 2, .ep = 2}, {.pp = 3}, {.pp = 4, .ep = 2}}) {
    SCOPED_TRACE(mesh.ToString());
    EXPECT_EQ(StatusAfter(Maverick(), 30, mesh, 256).expert_loads, alone.expert_loads);
  }
}

// One plan in 16 asks: here the first, and the last of 17 pieces of the prompt.
TEST(ExpertLoads, AddUpOverSteps) {
  for (const Mesh& mesh : {Mesh(), Mesh{.pp = 2, .ep = 2}}) {
    SCOPED_TRACE(mesh.ToString());
    ExpectTokensOnRoutedLayers(StatusAfter(Maverick(), 68, mesh, 4), 68);
  }
}

TEST(ExpertLoads, AreEmptyWithoutRoutedExperts) {
  const EngineStatus status = StatusAfter(
      std::string(TRIREME_SOURCE_DIR) + "/tests/data/models/llama3-tiny-f32", 30, {.pp = 2}, 256);
  EXPECT_EQ(status.experts, 0);
  EXPECT_TRUE(status.expert_loads.empty());
}

}  // namespace
}  // namespace trireme
