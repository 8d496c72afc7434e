#include "tests/parallel/shards/shard_fixture.h"

#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "runtime/base/check.h"

namespace trireme {

namespace fs = std::filesystem;

namespace {

// In memory where there is such a place: these tests sync thousands of times.
fs::path ParentOf(ScratchDirectory::Medium medium) {
  const fs::path memory = "/dev/shm";
  std::error_code error;
  const bool usable = medium == ScratchDirectory::Medium::kFast &&
                      fs::is_directory(memory, error) && access(memory.c_str(), W_OK) == 0;
  return usable ? memory : fs::temp_directory_path();
}

}  // namespace

ScratchDirectory::ScratchDirectory(Medium medium) {
  std::string pattern = (ParentOf(medium) / "trireme-shards-XXXXXX").string();
  TRI_CHECK(mkdtemp(pattern.data()) != nullptr);
  path_ = pattern;
}

ScratchDirectory::~ScratchDirectory() {
  std::error_code error;
  fs::remove_all(path_, error);
}

std::string GoldenModelPath(std::string_view name) {
  const fs::path directory = fs::path(TRIREME_SOURCE_DIR) / "tests/data/models" / name;
  for (const auto& entry : fs::directory_iterator(directory)) {
    if (entry.path().extension() == ".gguf") return entry.path().string();
  }
  return directory.string();
}

ModelSource OpenGolden(std::string_view name) {
  absl::StatusOr<ModelSource> model = OpenModel(GoldenModelPath(name));
  TRI_CHECK(model.ok()) << model.status().ToString();
  return *std::move(model);
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  TRI_CHECK(file.good()) << path;
  std::ostringstream content;
  content << file.rdbuf();
  return content.str();
}

void WriteFile(const std::string& path, std::string_view content) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << content;
  TRI_CHECK(file.good()) << path;
}

void FlipBit(const std::string& path, uint64_t offset, int bit) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.seekg(static_cast<std::streamoff>(offset));
  const int byte = file.get();
  file.seekp(static_cast<std::streamoff>(offset));
  file.put(static_cast<char>(byte ^ (1 << bit)));
  TRI_CHECK(file.good()) << path << ' ' << offset;
}

std::map<std::string, std::string> ReadDirectory(const std::string& path) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::directory_iterator(path)) {
    files[entry.path().filename().string()] = ReadFile(entry.path().string());
  }
  return files;
}

ShardOptions SmallSteps(const Mesh& mesh, const std::string& directory) {
  ShardOptions options;
  options.mesh = mesh;
  options.directory = directory;
  options.chunk_bytes = 10'000;
  options.commit_bytes = 100'000;
  options.threads = 1;  // so that the caller sees every step
  return options;
}

}  // namespace trireme
