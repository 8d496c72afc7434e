// What is drawn does not depend on the mesh: requests with every kind of sampling, together in one
// batch, on a model whose vocabulary and heads are split every way.
#include <gtest/gtest.h>

#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "parallel/mesh.h"
#include "tests/support/mesh_run.h"
#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

std::vector<Request> Requests() {
  const SamplingParams settings[] = {
      {},
      {.temperature = 1},
      {.temperature = 1.4F, .top_k = 5},
      {.temperature = 1.4F, .top_k = 200},
      {.temperature = 1.2F, .top_p = 0.8F},
      {.temperature = 1.5F, .min_p = 0.02F},
      {.temperature = 1, .top_k = 40, .top_p = 0.95F, .min_p = 0.001F},
      {.temperature = 1.1F,
       .top_p = 0.9F,
       .repetition_penalty = 1.3F,
       .frequency_penalty = 0.4F,
       .presence_penalty = 0.2F},
      {.repetition_penalty = 1.3F, .frequency_penalty = -0.5F},
  };
  std::vector<Request> requests;
  for (const SamplingParams& setting : settings) {
    const auto index = static_cast<int32_t>(requests.size());
    Request request;
    for (int32_t i = 0; i < 5 + index; ++i) request.prompt.push_back(3 + (index + i * 7) % 200);
    request.max_tokens = 12;
    request.sampling = setting;
    request.sampling.seed = 100;
    request.sequence = static_cast<uint32_t>(index);
    request.num_logprobs = index % 3 == 0 ? 4 : index % 3 - 1;
    if (index % 2 == 1) request.logit_bias = {{7, 3}, {11, -100}};
    requests.push_back(request);
  }
  return requests;
}

// Tokens and log-probabilities, bit by bit.
std::vector<std::vector<uint32_t>> AnswersOf(const std::string& model, const Mesh& mesh) {
  const auto events =
      RunOnMesh({.model = std::string(TRIREME_SOURCE_DIR) + "/tests/data/models/" + model,
                 .stages = mesh.pp,
                 .shards = mesh.shards(),
                 .expert_groups = mesh.ep},
                Requests());
  EXPECT_OK(events);
  std::vector<std::vector<uint32_t>> answers;
  if (!events.ok()) return answers;
  const auto bits = [](float value) { return std::bit_cast<uint32_t>(value); };
  for (const auto& of_request : *events) {
    std::vector<uint32_t>& answer = answers.emplace_back();
    for (const TokenEvent& event : of_request) {
      answer.push_back(static_cast<uint32_t>(event.token.token));
      answer.push_back(bits(event.token.logprob));
      for (const int32_t token : event.token.top_tokens) {
        answer.push_back(static_cast<uint32_t>(token));
      }
      for (const float logprob : event.token.top_logprobs) answer.push_back(bits(logprob));
    }
  }
  return answers;
}

TEST(SampledMesh, EveryMeshDrawsTheSameBytes) {
  const std::vector<Mesh> llama = {{.tp = 2}, {.tp = 4}, {.pp = 2}, {.pp = 2, .tp = 2}};
  const std::vector<Mesh> llama4 = {{.tp = 4}, {.ep = 2, .tp = 2}, {.pp = 2, .ep = 2}};
  for (const auto& [model, meshes] :
       {std::pair("llama3-tiny-bf16", llama), std::pair("llama4-maverick-tiny", llama4)}) {
    const auto alone = AnswersOf(model, {});
    ASSERT_EQ(alone.size(), Requests().size());
    for (const Mesh& mesh : meshes) {
      SCOPED_TRACE(std::string(model) + " " + mesh.ToString());
      EXPECT_EQ(AnswersOf(model, mesh), alone);
    }
  }
}

}  // namespace
}  // namespace trireme
