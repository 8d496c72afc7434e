// Where the text tests find their tokenizers and reference data.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

namespace trireme {

inline std::string ReadTestFile(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << "cannot read " << path;
  std::stringstream text;
  text << file.rdbuf();
  return std::move(text).str();
}

inline nlohmann::ordered_json ReadTestJson(const std::string& path_in_data) {
  return nlohmann::ordered_json::parse(
      ReadTestFile(std::filesystem::path(TRIREME_SOURCE_DIR) / "tests/data" / path_in_data));
}

// A tokenizer that some tests need and the tree may lack; scripts/fetch_models.sh --tokenizers
// brings it.
struct TokenizerFile {
  const char* name;    // of the test case
  const char* golden;  // folder under tests/data/tokenizers
  const char* path;    // from the root of the project

  std::string FullPath() const { return std::string(TRIREME_SOURCE_DIR) + "/" + path; }
  bool Exists() const { return std::filesystem::exists(FullPath()); }
};

inline constexpr TokenizerFile kTokenizerFiles[] = {
    {"SmolLM2Json", "smollm2", "tests/data/tokenizers/smollm2"},
    {"SmolLM2Gguf", "smollm2", ".cache/models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"},
    {"Llama3", "llama3", ".cache/models/llama3/tokenizer.model"},
    {"Llama4", "llama4", ".cache/models/llama4/tokenizer.model"},
};

}  // namespace trireme

#define TRIREME_SKIP_WITHOUT(file) \
  if (!(file).Exists())            \
  GTEST_SKIP() << (file).FullPath() << " is absent: run scripts/fetch_models.sh --tokenizers"
