// Cuts a checkpoint into one file a rank. It streams: the source is read once, in its own order,
// by a few threads through small buffers into all rank files at once, so that memory does not grow
// with the checkpoint (INV-SHARD-1: peak resident set under 512 MiB). It may be killed at any
// point: the same call resumes (durable_file.h says how), and the manifest, written last, is what
// makes a directory a model.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "parallel/mesh.h"
#include "parallel/shards/manifest.h"
#include "parallel/shards/model_source.h"

namespace trireme {

struct ShardProgress {
  uint64_t bytes_done = 0;
  uint64_t bytes_total = 0;
};

struct ShardOptions {
  Mesh mesh;
  std::string directory;                    // created where it does not exist
  std::vector<int> ranks;                   // only these; empty for all
  uint64_t chunk_bytes = kShardChunkBytes;  // a checksum covers so much of a slice
  // Synced and journaled when so much was written; a kill loses at most twice as much.
  uint64_t commit_bytes = uint64_t{256} << 20;
  int threads = 4;  // that read, hash and write; more than cores, as some wait for the disk
  // Called every few megabytes, on the caller's thread.
  std::function<void(const ShardProgress&)> progress = [](const ShardProgress&) {};
};

struct ShardReport {
  std::string identity;
  std::vector<int> written;
  std::vector<int> kept;      // were whole already
  uint64_t bytes_copied = 0;  // from the checkpoint
  uint64_t bytes_reused = 0;  // found on disk from an earlier run, and verified
};

// FAILED_PRECONDITION when the directory holds another model's files, or another process writes
// there; RESOURCE_EXHAUSTED when the disk is full; INVALID_ARGUMENT as CheckMesh, or for a tensor
// that is not as the model's table says.
absl::StatusOr<ShardReport> WriteShards(const ModelSource& model, const ShardOptions& options);

}  // namespace trireme
