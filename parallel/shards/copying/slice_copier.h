// Copies slices of a checkpoint into rank files: threads take chunk after chunk, in the order of
// the source's bytes, so that it is read once, however many ranks want columns of the same rows.
// Each thread reads, hashes and writes; while one of them syncs, the others copy on.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "parallel/shards/copying/slice_reader.h"
#include "parallel/shards/durable_file.h"
#include "parallel/shards/shard_layout.h"
#include "parallel/shards/shard_writer.h"
#include "runtime/base/mutex.h"
#include "trireme/v1/manifest.pb.h"

namespace trireme {

// A rank file while it is written.
struct OpenRank {
  const RankLayout* layout = nullptr;
  PartialFile file;
  v1::RankFile record;
};

// A part of a slice that one thread copies, under one checksum.
struct Chunk {
  OpenRank* rank = nullptr;
  std::shared_ptr<const SliceReader> reader;
  uint64_t in_slice = 0;
  uint64_t in_file = 0;
  uint64_t bytes = 0;
  std::string* sha256 = nullptr;  // the manifest's
};

// All chunks of the ranks, by their place in the source. The manifest's records get an empty
// checksum a chunk. Model, files and ranks must outlive the chunks.
absl::StatusOr<std::vector<Chunk>> ChunksOf(const ModelSource& model, const ShardOptions& options,
                                            const SourceFiles& files, std::vector<OpenRank>& ranks);

class CopyBuffer;

// One copying of chunks.
class SliceCopier {
 public:
  SliceCopier(const ShardOptions& options, ShardReport& report)
      : options_(options), report_(report) {}

  // Writes headers and chunks, or keeps those that an earlier run left whole, and commits all.
  // Once.
  absl::Status CopyAll(std::vector<OpenRank>& ranks, const std::vector<Chunk>& chunks);

 private:
  void CopyChunks(const std::vector<Chunk>& chunks, bool is_caller);
  absl::Status CopyOrKeep(const Chunk& chunk, CopyBuffer& buffer, bool is_caller);
  // Commits when at least so many bytes were written since; the other threads copy on meanwhile,
  // until they have as much again.
  absl::Status Commit(uint64_t at_least);
  bool HasUncommitted(uint64_t at_least);
  void Advance(uint64_t bytes, bool is_caller);

  const ShardOptions& options_;
  ShardReport& report_;
  uint64_t bytes_total_ = 0;
  std::atomic<uint64_t> bytes_done_{0};
  std::atomic<size_t> next_{0};
  std::atomic<bool> failed_{false};
  Mutex commit_;  // held by the thread that syncs; taken before mutex_
  Mutex mutex_;
  absl::Status first_error_ ABSL_GUARDED_BY(mutex_);
  std::map<OpenRank*, std::string> written_ ABSL_GUARDED_BY(mutex_);  // for the journals
  uint64_t uncommitted_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t copied_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t reused_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace trireme
