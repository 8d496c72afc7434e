// What the tests of shards share: the golden models, a scratch directory, and files as strings.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <string>
#include <string_view>

#include "parallel/shards/model_source.h"
#include "parallel/shards/shard_writer.h"

namespace trireme {

// Gone with the test.
class ScratchDirectory {
 public:
  enum class Medium { kFast, kDisk };
  explicit ScratchDirectory(Medium medium = Medium::kFast);
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;
  ~ScratchDirectory();

  std::string operator/(std::string_view name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

// The path that OpenModel takes: a directory, or the GGUF file in it.
std::string GoldenModelPath(std::string_view name);
ModelSource OpenGolden(std::string_view name);

std::string ReadFile(const std::string& path);
void WriteFile(const std::string& path, std::string_view content);
// One bit of the byte at `offset`.
void FlipBit(const std::string& path, uint64_t offset, int bit = 3);

// Every file of a directory by name.
std::map<std::string, std::string> ReadDirectory(const std::string& path);

// Small chunks and commits, so that a golden model has many of them.
ShardOptions SmallSteps(const Mesh& mesh, const std::string& directory);

}  // namespace trireme
