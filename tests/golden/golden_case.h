// A case of the reference implementation's outputs under tests/data (format: tests/data/README.md).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "runtime/checkpoint/safetensors.h"

namespace trireme {

struct GoldenPrompt {
  int index = 0;
  std::vector<int32_t> ids;
  std::vector<int32_t> greedy;
  std::vector<float> logprobs;  // of the greedy tokens
};

struct GoldenCase {
  std::string name;
  std::string model;  // path of the checkpoint
  std::vector<GoldenPrompt> prompts;
  std::unique_ptr<SafetensorsFile> logits;

  // [rows, vocabulary] of "p{prompt}.{what}"; empty where the case has none.
  std::vector<std::vector<float>> Logits(int prompt, std::string_view what) const;
};

// CHECKs on damage: the files are our own.
GoldenCase LoadGoldenCase(const std::string& directory, const std::string& model_file);

// The dense model cases, those of Llama 4, and both.
std::vector<GoldenCase> DenseGoldenCases();
std::vector<GoldenCase> Llama4GoldenCases();
std::vector<GoldenCase> AllGoldenCases();

}  // namespace trireme
