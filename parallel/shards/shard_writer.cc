#include "parallel/shards/shard_writer.h"

#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <optional>
#include <set>
#include <span>
#include <system_error>
#include <utility>

#include "absl/strings/str_format.h"
#include "parallel/partition.h"
#include "parallel/sha256.h"
#include "parallel/shards/durable_file.h"
#include "parallel/shards/shard_layout.h"
#include "parallel/shards/shard_source.h"
#include "runtime/base/status_macros.h"
#include "runtime/checkpoint/strict_json.h"

namespace trireme {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kBufferBytes = 4 << 20;
// A column slice touches every page of the rows it is gathered from: so much source a buffer.
constexpr uint64_t kSourceSpanBytes = 32 << 20;

// The bytes of a slice in the order in which a shard stores them: row by row, and expert by expert.
class SliceReader {
 public:
  SliceReader(const TensorEntry& entry, const SliceLayout& slice)
      : entry_(entry),
        region_(slice.region),
        whole_row_(static_cast<uint64_t>(entry.view.row_stride_bytes)) {
    if (slice.shape.rank() == 1) {
      // A vector is one row.
      first_byte_ = RowBytes(slice.dtype, region_.rows.begin);
      row_ = static_cast<uint64_t>(RowBytes(slice.dtype, region_.rows.size()));
      region_.rows = {0, 1};
      return;
    }
    if (slice.shape.rank() == 3) whole_rows_ = entry.view.shape[1];
    first_byte_ = RowBytes(slice.dtype, region_.columns.begin);
    row_ = static_cast<uint64_t>(RowBytes(slice.dtype, region_.columns.size()));
  }

  // How much to ask for at once.
  uint64_t piece_bytes() const {
    const uint64_t rows = std::max<uint64_t>(1, kSourceSpanBytes / whole_row_);
    return std::clamp<uint64_t>(rows * row_, 1, kBufferBytes);
  }

  // Copies bytes [offset, offset + out.size()) of the slice and lets go of the source's pages.
  void Read(uint64_t offset, std::span<std::byte> out) const {
    const std::byte* from = nullptr;
    const std::byte* begin = nullptr;
    for (size_t done = 0, part = 0; done < out.size(); done += part) {
      const uint64_t within = (offset + done) % row_;
      part = std::min<uint64_t>(row_ - within, out.size() - done);
      from = RowStart((offset + done) / row_) + within;
      if (begin == nullptr) begin = from;
      std::memcpy(out.data() + done, from, part);
    }
    const std::byte* end = from + row_;
    const std::byte* last = entry_.file->bytes().data() + entry_.file->size();
    DropPagesAround(*entry_.file, begin, static_cast<uint64_t>(std::min(end, last) - begin));
  }

 private:
  // Of row `row` of the slice.
  const std::byte* RowStart(uint64_t row) const {
    const auto rows = static_cast<uint64_t>(region_.rows.size());
    const int64_t expert = region_.experts.begin + static_cast<int64_t>(row / rows);
    const int64_t in_expert = region_.rows.begin + static_cast<int64_t>(row % rows);
    return entry_.view.row(expert * whole_rows_ + in_expert) + first_byte_;
  }

  const TensorEntry& entry_;
  Slice region_;
  uint64_t whole_row_;      // bytes from a row of the source to the next
  int64_t whole_rows_ = 0;  // rows of an expert in the source
  int64_t first_byte_ = 0;  // of the slice, in a row of the source
  uint64_t row_ = 0;        // bytes of a row of the slice
};

// A rank file while it is written.
struct OpenRank {
  const RankLayout* layout = nullptr;
  PartialFile file;
  v1::RankFile record;
};

v1::RankFile RecordOf(const RankLayout& layout, const TensorTable& table,
                      const TensorSource& source, uint64_t chunk_bytes) {
  v1::RankFile record;
  record.set_rank(static_cast<uint32_t>(layout.rank));
  record.set_name(layout.file_name);
  record.set_bytes(layout.file_bytes);
  record.set_header_bytes(layout.header.size());
  record.set_header_sha256(Sha256Hex(layout.header));
  record.set_chunk_bytes(chunk_bytes);
  for (const SliceLayout& slice : layout.slices) {
    const TensorSpec& spec = table[slice.row];
    v1::SliceRecord& listed = *record.add_slices();
    listed.set_name(slice.name);
    listed.set_source_name(NameIn(source, spec));
    listed.set_dtype(std::string(Name(slice.dtype)));
    for (int axis = 0; axis < slice.shape.rank(); ++axis) listed.add_shape(slice.shape[axis]);
    v1::SliceRegion& region = *listed.mutable_region();
    region.set_row_begin(slice.region.rows.begin);
    region.set_row_end(slice.region.rows.end);
    region.set_column_begin(slice.region.columns.begin);
    region.set_column_end(slice.region.columns.end);
    region.set_expert_begin(slice.region.experts.begin);
    region.set_expert_end(slice.region.experts.end);
    listed.set_offset(slice.offset);
    listed.set_bytes(slice.bytes);
  }
  return record;
}

// Copies slices into the open rank files, chunk by chunk.
class SliceCopier {
 public:
  SliceCopier(const ModelSource& model, const ShardOptions& options, ShardReport& report)
      : model_(model), options_(options), report_(report), buffer_(kBufferBytes) {}

  absl::Status CopyAll(std::vector<OpenRank>& ranks) {
    for (OpenRank& rank : ranks) {
      progress_.bytes_total += rank.layout->file_bytes;
      const std::string& header = rank.layout->header;
      TRI_RETURN_IF_ERROR(
          rank.file.Write(0, std::as_bytes(std::span(header.data(), header.size()))));
      progress_.bytes_done += header.size();
    }
    // By tensor first: what one rank read is still in the page cache for the next.
    for (size_t row = 0; row < model_.table.size(); ++row) {
      for (OpenRank& rank : ranks) {
        const auto& slices = rank.layout->slices;
        const auto found = std::find_if(slices.begin(), slices.end(),
                                        [&](const SliceLayout& s) { return s.row == row; });
        if (found == slices.end()) continue;
        TRI_RETURN_IF_ERROR(CopySlice(*found, rank));
        TRI_RETURN_IF_ERROR(CommitWhenMuch(ranks));
      }
    }
    return absl::OkStatus();
  }

 private:
  absl::Status CopySlice(const SliceLayout& slice, OpenRank& rank) {
    TRI_ASSIGN_OR_RETURN(const TensorEntry* entry,
                         FindChecked(*model_.checkpoint->tensors, model_.table[slice.row]));
    const SliceReader reader(*entry, slice);
    v1::SliceRecord* record =
        rank.record.mutable_slices(static_cast<int>(&slice - rank.layout->slices.data()));
    for (uint64_t begin = 0; begin < slice.bytes; begin += options_.chunk_bytes) {
      const Chunk chunk{.in_slice = begin,
                        .in_file = slice.offset + begin,
                        .bytes = std::min(options_.chunk_bytes, slice.bytes - begin)};
      TRI_ASSIGN_OR_RETURN(const bool kept, KeepChunk(chunk, rank));
      if (!kept) TRI_RETURN_IF_ERROR(CopyChunk(chunk, reader, rank));
      record->add_chunk_sha256(digest_);
    }
    return absl::OkStatus();
  }

  struct Chunk {
    uint64_t in_slice = 0;
    uint64_t in_file = 0;
    uint64_t bytes = 0;
  };

  // True when an earlier run wrote the chunk and it is still whole; digest_ is then its checksum.
  absl::StatusOr<bool> KeepChunk(const Chunk& chunk, OpenRank& rank) {
    const std::string journaled = rank.file.JournaledDigest(chunk.in_file);
    if (journaled.empty()) return false;
    Sha256 hash;
    for (uint64_t done = 0; done < chunk.bytes;) {
      const std::span<std::byte> piece =
          std::span(buffer_).first(std::min(kBufferBytes, chunk.bytes - done));
      TRI_RETURN_IF_ERROR(rank.file.Read(chunk.in_file + done, piece));
      hash.Add(piece);
      done += piece.size();
    }
    digest_ = hash.HexDigest();
    if (digest_ != journaled) return false;
    report_.bytes_reused += chunk.bytes;
    Advance(chunk.bytes);
    return true;
  }

  absl::Status CopyChunk(const Chunk& chunk, const SliceReader& reader, OpenRank& rank) {
    Sha256 hash;
    for (uint64_t done = 0; done < chunk.bytes;) {
      const std::span<std::byte> piece =
          std::span(buffer_).first(std::min(reader.piece_bytes(), chunk.bytes - done));
      reader.Read(chunk.in_slice + done, piece);
      hash.Add(piece);
      TRI_RETURN_IF_ERROR(rank.file.Write(chunk.in_file + done, piece));
      done += piece.size();
      report_.bytes_copied += piece.size();
      Advance(piece.size());
    }
    digest_ = hash.HexDigest();
    rank.file.NoteChunk(chunk.in_file, digest_);
    return absl::OkStatus();
  }

  absl::Status CommitWhenMuch(std::vector<OpenRank>& ranks) {
    uint64_t uncommitted = 0;
    for (const OpenRank& rank : ranks) uncommitted += rank.file.uncommitted_bytes();
    if (uncommitted < options_.commit_bytes) return absl::OkStatus();
    for (OpenRank& rank : ranks) TRI_RETURN_IF_ERROR(rank.file.Commit());
    return absl::OkStatus();
  }

  void Advance(uint64_t bytes) {
    progress_.bytes_done += bytes;
    options_.progress(progress_);
  }

  const ModelSource& model_;
  const ShardOptions& options_;
  ShardReport& report_;
  ShardProgress progress_;
  std::vector<std::byte> buffer_;
  std::string digest_;  // of the last chunk
};

absl::Status CheckRanks(const ShardOptions& options) {
  for (const int rank : options.ranks) {
    if (rank >= 0 && rank < options.mesh.ranks()) continue;
    return absl::InvalidArgumentError(
        absl::StrFormat("--ranks: expected ranks of [0, %d) for a mesh of %s; got %d",
                        options.mesh.ranks(), options.mesh.ToString(), rank));
  }
  return absl::OkStatus();
}

absl::Status MakeDirectory(const ModelSource& model, const std::string& directory) {
  std::error_code error;
  if (fs::equivalent(model.path, directory, error)) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "%s is the checkpoint itself; choose another --out for its shards", directory));
  }
  fs::create_directories(directory, error);
  if (error) return FileError("create", directory, error.value());
  return absl::OkStatus();
}

// The manifest of an earlier run for the same set, or an empty one for it.
absl::StatusOr<v1::ShardManifest> EarlierManifest(const ModelSource& model, v1::ShardSet set,
                                                  const ShardOptions& options) {
  v1::ShardManifest fresh;
  *fresh.mutable_set() = std::move(set);
  fresh.set_checkpoint_name(fs::path(model.path).filename().string());
  fresh.set_identity(IdentityOf(fresh.set()));
  TRI_RETURN_IF_ERROR(PartialFile::CheckLeftovers(options.directory, fresh.identity()));
  const std::string path = JoinPath(options.directory, kManifestName);
  std::error_code error;
  if (fs::exists(path, error)) {
    TRI_ASSIGN_OR_RETURN(v1::ShardManifest earlier, ReadManifest(options.directory));
    if (earlier.identity() == fresh.identity()) return earlier;
    return absl::FailedPreconditionError(absl::StrFormat(
        "%s is of other shards (%s, %s); they are not overwritten: choose another --out, or "
        "delete the directory",
        path, earlier.checkpoint_name(), MeshOf(earlier.set()).ToString()));
  }
  TRI_ASSIGN_OR_RETURN(const std::vector<std::string> strays,
                       StrayRankFiles(options.directory, fresh));
  if (!strays.empty()) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "%s is there without a %s; it is not overwritten: choose another --out, or delete it",
        JoinPath(options.directory, strays.front()), kManifestName));
  }
  return fresh;
}

// A file that differs is repaired in a directory that is ours, by its manifest, and refused in any
// other.
absl::Status WriteCompanions(const std::string& directory, const v1::ShardManifest& manifest,
                             const std::vector<Companion>& companions) {
  const bool ours = manifest.rank_files_size() > 0;
  for (const Companion& companion : companions) {
    const std::string path = JoinPath(directory, companion.name);
    const absl::StatusOr<std::string> there =
        ReadTextFile(path, uint64_t{1} << 32);  // whatever its size, it is not overwritten
    if (there.ok() && *there == companion.content) continue;
    if (!there.ok() && !absl::IsNotFound(there.status())) return there.status();
    if (there.ok() && !ours) {
      return absl::FailedPreconditionError(absl::StrFormat(
          "%s is there and differs from the checkpoint's; it is not overwritten: choose another "
          "--out, or delete it",
          path));
    }
    TRI_RETURN_IF_ERROR(WriteFileDurably(path, companion.content));
  }
  return absl::OkStatus();
}

// The manifest lists the rank and its file passes what a worker checks at its start.
bool IsWhole(const v1::ShardManifest& manifest, const RankLayout& layout,
             const std::string& directory) {
  const v1::RankFile* listed = FindRankFile(manifest, layout.rank);
  return listed != nullptr && listed->header_sha256() == Sha256Hex(layout.header) &&
         ShardSource::Open(directory, manifest, layout.rank).ok();
}

absl::Status CheckSpace(const std::vector<const RankLayout*>& missing,
                        const std::string& directory) {
  uint64_t needed = 0;
  for (const RankLayout* layout : missing) {
    const std::string partial = PartialFile::PartialPath(JoinPath(directory, layout->file_name));
    std::error_code error;
    const uint64_t there = fs::file_size(partial, error);
    if (error || there < layout->file_bytes) needed += layout->file_bytes;
  }
  struct statvfs status {};
  if (statvfs(directory.c_str(), &status) != 0) return FileError("inspect", directory, errno);
  const uint64_t available = uint64_t{status.f_bavail} * status.f_frsize;
  if (needed <= available) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrFormat(
      "%s: the shards need %d bytes; found %d free; free space, or write fewer with --ranks",
      directory, needed, available));
}

absl::Status CheckSourceUnchanged(const TensorSource& source) {
  std::set<const MappedFile*> files;
  for (const TensorEntry& entry : source.entries()) files.insert(entry.file.get());
  for (const MappedFile* file : files) TRI_RETURN_IF_ERROR(file->CheckUnchanged());
  return absl::OkStatus();
}

// Lists the new files beside those that stay, in rank order.
void AddRankFiles(std::vector<OpenRank>& ranks, v1::ShardManifest& manifest) {
  std::vector<v1::RankFile> files(manifest.rank_files().begin(), manifest.rank_files().end());
  for (OpenRank& rank : ranks) {
    std::erase_if(files, [&](const v1::RankFile& f) { return f.rank() == rank.record.rank(); });
    files.push_back(std::move(rank.record));
  }
  std::sort(files.begin(), files.end(),
            [](const v1::RankFile& a, const v1::RankFile& b) { return a.rank() < b.rank(); });
  manifest.clear_rank_files();
  for (v1::RankFile& file : files) *manifest.add_rank_files() = std::move(file);
}

// Journals go last: until the manifest is in place they are what a next run resumes by.
absl::Status RemoveJournals(const v1::ShardManifest& manifest, const std::string& directory) {
  for (const v1::RankFile& file : manifest.rank_files()) {
    std::error_code error;
    const std::string path = JoinPath(directory, file.name());
    if (fs::exists(PartialFile::PartialPath(path), error)) continue;
    fs::remove(PartialFile::JournalPath(path), error);
    if (error) return FileError("delete", PartialFile::JournalPath(path), error.value());
  }
  return SyncDirectory(directory);
}

absl::Status WriteRanks(const ModelSource& model, const ShardOptions& options,
                        const std::vector<const RankLayout*>& missing, v1::ShardManifest& manifest,
                        ShardReport& report) {
  TRI_RETURN_IF_ERROR(CheckSpace(missing, options.directory));
  std::vector<OpenRank> ranks;
  for (const RankLayout* layout : missing) {
    TRI_ASSIGN_OR_RETURN(PartialFile file,
                         PartialFile::Open({.path = JoinPath(options.directory, layout->file_name),
                                            .identity = manifest.identity(),
                                            .bytes = layout->file_bytes,
                                            .chunk_bytes = options.chunk_bytes}));
    ranks.push_back(
        {layout, std::move(file),
         RecordOf(*layout, model.table, *model.checkpoint->tensors, options.chunk_bytes)});
    report.written.push_back(layout->rank);
  }
  SliceCopier copier(model, options, report);
  TRI_RETURN_IF_ERROR(copier.CopyAll(ranks));
  TRI_RETURN_IF_ERROR(CheckSourceUnchanged(*model.checkpoint->tensors));
  for (OpenRank& rank : ranks) TRI_RETURN_IF_ERROR(rank.file.Finish());
  AddRankFiles(ranks, manifest);
  return WriteManifest(options.directory, manifest);
}

}  // namespace

absl::StatusOr<ShardReport> WriteShards(const ModelSource& model, const ShardOptions& options) {
  if (model.sharded()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s is sharded already (%s); give the checkpoint it was made from",
                        model.path, model.mesh()->ToString()));
  }
  TRI_ASSIGN_OR_RETURN(const std::vector<RankShare> shares,
                       Partition(model.table, model.config, options.mesh));
  TRI_RETURN_IF_ERROR(CheckRanks(options));
  TRI_ASSIGN_OR_RETURN(const std::vector<Companion> companions, CompanionsOf(*model.checkpoint));
  v1::ShardSet set = DescribeSet(model, companions);
  set.mutable_mesh()->set_pp(static_cast<uint32_t>(options.mesh.pp));
  set.mutable_mesh()->set_ep(static_cast<uint32_t>(options.mesh.ep));
  set.mutable_mesh()->set_tp(static_cast<uint32_t>(options.mesh.tp));
  TRI_ASSIGN_OR_RETURN(
      const std::vector<RankLayout> layouts,
      LayOutRanks(model.table, shares, *model.checkpoint->tensors, IdentityOf(set)));

  TRI_RETURN_IF_ERROR(MakeDirectory(model, options.directory));
  TRI_ASSIGN_OR_RETURN(const DirectoryLock lock, DirectoryLock::Take(options.directory));
  TRI_ASSIGN_OR_RETURN(v1::ShardManifest manifest, EarlierManifest(model, std::move(set), options));
  TRI_RETURN_IF_ERROR(WriteCompanions(options.directory, manifest, companions));

  ShardReport report;
  report.identity = manifest.identity();
  std::vector<const RankLayout*> missing;
  for (const RankLayout& layout : layouts) {
    const auto& asked = options.ranks;
    const bool wanted =
        asked.empty() || std::find(asked.begin(), asked.end(), layout.rank) != asked.end();
    if (!wanted) continue;
    if (IsWhole(manifest, layout, options.directory)) {
      report.kept.push_back(layout.rank);
    } else {
      missing.push_back(&layout);
    }
  }
  if (!missing.empty()) {
    TRI_RETURN_IF_ERROR(WriteRanks(model, options, missing, manifest, report));
  }
  TRI_RETURN_IF_ERROR(RemoveJournals(manifest, options.directory));
  return report;
}

}  // namespace trireme
