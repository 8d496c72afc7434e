#include "runtime/checkpoint/checkpoint.h"

#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "runtime/base/printable.h"
#include "runtime/base/status_macros.h"
#include "runtime/checkpoint/gguf.h"
#include "runtime/checkpoint/hf_index.h"
#include "runtime/checkpoint/strict_json.h"

namespace trireme {
namespace {

constexpr uint64_t kMaxConfigBytes = 16 << 20;

// What a directory without config.json may be instead.
std::string DescribeOther(const std::string& path) {
  std::error_code error;
  if (std::filesystem::exists(path + "/manifest.json", error)) {
    return "a manifest.json (a shard directory)";
  }
  for (std::filesystem::directory_iterator at(path, error), end; !error && at != end;
       at.increment(error)) {
    if (at->path().extension() != ".gguf") continue;
    return absl::StrFormat("%s in it; give that file", Printable(at->path().filename().string()));
  }
  return "a directory without config.json";
}

absl::StatusOr<Checkpoint> OpenDirectory(const std::string& path) {
  Checkpoint checkpoint;
  checkpoint.path = path;
  checkpoint.config_path = path + "/config.json";
  absl::StatusOr<std::string> config = ReadTextFile(checkpoint.config_path, kMaxConfigBytes);
  if (absl::IsNotFound(config.status())) {
    return absl::NotFoundError(absl::StrFormat(
        "%s: expected a checkpoint directory with config.json and *.safetensors, or a GGUF file; "
        "found %s",
        path, DescribeOther(path)));
  }
  TRI_RETURN_IF_ERROR(config.status());
  checkpoint.config_json = *std::move(config);

  absl::StatusOr<std::string> generation =
      ReadTextFile(path + "/generation_config.json", kMaxConfigBytes);
  if (generation.ok()) {
    checkpoint.generation_config_json = *std::move(generation);
  } else if (!absl::IsNotFound(generation.status())) {
    return generation.status();
  }
  TRI_ASSIGN_OR_RETURN(checkpoint.tensors, HfDirectory::Open(path));
  return checkpoint;
}

absl::StatusOr<Checkpoint> OpenFile(const std::string& path) {
  if (path.ends_with(".safetensors")) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s: expected a checkpoint directory or a GGUF file; found one safetensors file; "
        "give the directory that holds it and config.json",
        path));
  }
  TRI_ASSIGN_OR_RETURN(std::unique_ptr<GgufFile> file, GgufFile::Open(path));
  Checkpoint checkpoint;
  checkpoint.path = path;
  checkpoint.gguf = &file->metadata();
  checkpoint.tensors = std::move(file);
  return checkpoint;
}

}  // namespace

absl::StatusOr<Checkpoint> OpenCheckpoint(const std::string& path) {
  std::error_code error;
  return std::filesystem::is_directory(path, error) ? OpenDirectory(path) : OpenFile(path);
}

}  // namespace trireme
