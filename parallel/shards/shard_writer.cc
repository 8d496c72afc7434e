#include "parallel/shards/shard_writer.h"

#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <set>
#include <span>
#include <system_error>
#include <utility>

#include "absl/strings/str_format.h"
#include "parallel/partition.h"
#include "parallel/sha256.h"
#include "parallel/shards/copying/slice_copier.h"
#include "parallel/shards/copying/slice_reader.h"
#include "parallel/shards/durable_file.h"
#include "parallel/shards/shard_layout.h"
#include "parallel/shards/shard_source.h"
#include "runtime/base/status_macros.h"
#include "runtime/checkpoint/strict_json.h"

namespace trireme {
namespace {

namespace fs = std::filesystem;

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
  TRI_ASSIGN_OR_RETURN(const SourceFiles files, SourceFiles::Open(*model.checkpoint->tensors));
  TRI_ASSIGN_OR_RETURN(const std::vector<Chunk> chunks, ChunksOf(model, options, files, ranks));
  SliceCopier copier(options, report);
  TRI_RETURN_IF_ERROR(copier.CopyAll(ranks, chunks));
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
