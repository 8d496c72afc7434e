#include "parallel/shards/copying/slice_copier.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <thread>
#include <tuple>
#include <utility>

#include "parallel/sha256.h"
#include "parallel/shards/copying/quantizing_reader.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

constexpr uint64_t kBufferBytes = 4 << 20;

}  // namespace

// A thread's memory for a piece of a file, whose bytes it places so that they can be written
// directly.
class CopyBuffer {
 public:
  CopyBuffer() : memory_(kBufferBytes + 2 * PartialFile::kDirectAlignment) {}

  // For at most `most` bytes at `offset` of the file; all but the last piece end at a multiple.
  std::span<std::byte> For(uint64_t offset, uint64_t most) {
    const uint64_t within = offset % PartialFile::kDirectAlignment;
    const auto address = reinterpret_cast<uintptr_t>(memory_.data());
    const uint64_t skipped = -address % PartialFile::kDirectAlignment;
    return std::span(memory_).subspan(skipped + within, std::min(kBufferBytes - within, most));
  }

 private:
  std::vector<std::byte> memory_;
};

namespace {

// True when an earlier run wrote the chunk and it is still whole.
absl::StatusOr<bool> KeepChunk(const Chunk& chunk, CopyBuffer& buffer) {
  const std::string journaled = chunk.rank->file.JournaledDigest(chunk.in_file);
  if (journaled.empty()) return false;
  Sha256 hash;
  for (uint64_t done = 0; done < chunk.bytes;) {
    const std::span<std::byte> piece = buffer.For(chunk.in_file + done, chunk.bytes - done);
    TRI_RETURN_IF_ERROR(chunk.rank->file.Read(chunk.in_file + done, piece));
    hash.Add(piece);
    done += piece.size();
  }
  *chunk.sha256 = hash.HexDigest();
  return *chunk.sha256 == journaled;
}

}  // namespace

absl::Status SliceCopier::CopyAll(std::vector<OpenRank>& ranks, const std::vector<Chunk>& chunks) {
  for (OpenRank& rank : ranks) {
    bytes_total_ += rank.layout->file_bytes;
    const std::string& header = rank.layout->header;
    TRI_RETURN_IF_ERROR(rank.file.Write(0, std::as_bytes(std::span(header.data(), header.size()))));
    bytes_done_ += header.size();
  }
  {
    std::vector<std::jthread> workers;
    for (int i = 1; i < options_.threads; ++i) {
      workers.emplace_back([&] { CopyChunks(chunks, false); });
    }
    CopyChunks(chunks, true);
  }
  {
    const MutexLock lock(mutex_);
    TRI_RETURN_IF_ERROR(first_error_);
    report_.bytes_copied += copied_;
    report_.bytes_reused += reused_;
  }
  TRI_RETURN_IF_ERROR(Commit(0));
  options_.progress({bytes_done_, bytes_total_});
  return absl::OkStatus();
}

void SliceCopier::CopyChunks(const std::vector<Chunk>& chunks, bool is_caller) {
  CopyBuffer buffer;
  for (size_t i = next_++; i < chunks.size() && !failed_; i = next_++) {
    absl::Status status = CopyOrKeep(chunks[i], buffer, is_caller);
    if (status.ok()) status = Commit(options_.commit_bytes);
    if (status.ok()) continue;
    const MutexLock lock(mutex_);
    first_error_.Update(status);
    failed_ = true;
  }
}

absl::Status SliceCopier::CopyOrKeep(const Chunk& chunk, CopyBuffer& buffer, bool is_caller) {
  TRI_ASSIGN_OR_RETURN(const bool kept, KeepChunk(chunk, buffer));
  if (kept) {
    Advance(chunk.bytes, is_caller);
    const MutexLock lock(mutex_);
    reused_ += chunk.bytes;
    return absl::OkStatus();
  }
  Sha256 hash;
  for (uint64_t done = 0; done < chunk.bytes;) {
    const std::span<std::byte> piece = buffer.For(chunk.in_file + done, chunk.bytes - done);
    TRI_RETURN_IF_ERROR(chunk.reader->Read(chunk.in_slice + done, piece));
    hash.Add(piece);
    TRI_RETURN_IF_ERROR(chunk.rank->file.Write(chunk.in_file + done, piece));
    done += piece.size();
    Advance(piece.size(), is_caller);
  }
  *chunk.sha256 = hash.HexDigest();
  const MutexLock lock(mutex_);
  written_[chunk.rank] += PartialFile::ChunkLine(chunk.in_file, *chunk.sha256);
  uncommitted_ += chunk.bytes;
  copied_ += chunk.bytes;
  return absl::OkStatus();
}

absl::Status SliceCopier::Commit(uint64_t at_least) {
  if (!HasUncommitted(at_least)) return absl::OkStatus();
  const MutexLock committing(commit_);
  if (!HasUncommitted(at_least)) return absl::OkStatus();
  std::map<OpenRank*, std::string> written;
  {
    const MutexLock lock(mutex_);
    written.swap(written_);
    uncommitted_ = 0;
  }
  for (const auto& [rank, lines] : written) TRI_RETURN_IF_ERROR(rank->file.Commit(lines));
  return absl::OkStatus();
}

bool SliceCopier::HasUncommitted(uint64_t at_least) {
  const MutexLock lock(mutex_);
  return uncommitted_ > 0 && uncommitted_ >= at_least;
}

void SliceCopier::Advance(uint64_t bytes, bool is_caller) {
  bytes_done_ += bytes;
  if (is_caller) options_.progress({bytes_done_, bytes_total_});
}

namespace {

std::shared_ptr<const SliceReader> MakeReader(const TensorEntry& entry, const SliceLayout& slice,
                                              const TensorSpec& spec, size_t readers,
                                              const SourceFiles& files) {
  if (slice.dtype == slice.source_dtype) {
    return std::make_shared<PlainReader>(entry, slice, readers, files);
  }
  return std::make_shared<QuantizingReader>(entry, slice, spec.transposed, readers, files);
}

}  // namespace

absl::StatusOr<std::vector<Chunk>> ChunksOf(const ModelSource& model, const ShardOptions& options,
                                            const SourceFiles& files,
                                            std::vector<OpenRank>& ranks) {
  std::vector<Chunk> chunks;
  std::vector<std::tuple<std::string, uint64_t, size_t>> order;  // file, place, chunk
  for (OpenRank& rank : ranks) {
    for (size_t i = 0; i < rank.layout->slices.size(); ++i) {
      const SliceLayout& slice = rank.layout->slices[i];
      TRI_ASSIGN_OR_RETURN(const TensorEntry* entry,
                           FindChecked(*model.checkpoint->tensors, model.table[slice.row]));
      const std::shared_ptr<const SliceReader> reader =
          MakeReader(*entry, slice, model.table[slice.row], ranks.size(), files);
      v1::SliceRecord* record = rank.record.mutable_slices(static_cast<int>(i));
      for (uint64_t begin = 0; begin < slice.bytes; begin += options.chunk_bytes) {
        order.emplace_back(entry->file->path(), reader->PlaceOf(begin), chunks.size());
        chunks.push_back({.rank = &rank,
                          .reader = reader,
                          .in_slice = begin,
                          .in_file = slice.offset + begin,
                          .bytes = std::min(options.chunk_bytes, slice.bytes - begin),
                          .sha256 = record->add_chunk_sha256()});
      }
    }
  }
  std::sort(order.begin(), order.end());
  std::vector<Chunk> sorted;
  for (const auto& [file, place, chunk] : order) sorted.push_back(std::move(chunks[chunk]));
  return sorted;
}

}  // namespace trireme
