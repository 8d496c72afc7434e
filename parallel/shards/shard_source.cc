#include "parallel/shards/shard_source.h"

#include <map>
#include <optional>
#include <span>
#include <utility>

#include "absl/strings/str_format.h"
#include "parallel/sha256.h"
#include "parallel/shards/manifest.h"
#include "parallel/shards/shard_layout.h"
#include "runtime/base/printable.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

absl::Status CheckFile(const SafetensorsFile& shard, const v1::ShardManifest& manifest,
                       const v1::RankFile& listed) {
  const std::string& path = shard.file()->path();
  const auto metadata = [&](std::string_view key) {
    const auto found = shard.metadata().find(std::string(key));
    return found == shard.metadata().end() ? std::string("nothing") : Printable(found->second);
  };
  if (metadata(kIdentityKey) != manifest.identity()) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "%s is of another model or mesh than %s beside it: expected identity %s; found %s", path,
        kManifestName, manifest.identity(), metadata(kIdentityKey)));
  }
  if (metadata(kRankKey) != std::to_string(listed.rank())) {
    return absl::FailedPreconditionError(
        absl::StrFormat("%s: expected the shard of rank %d; found rank %s", path, listed.rank(),
                        metadata(kRankKey)));
  }
  const std::span<const std::byte> bytes = shard.file()->bytes();
  if (listed.header_bytes() > bytes.size() ||
      Sha256Hex(bytes.first(listed.header_bytes())) != listed.header_sha256()) {
    return absl::DataLossError(absl::StrFormat(
        "%s: its header is not the one that was written: the checksum of bytes [0, %d) differs",
        path, listed.header_bytes()));
  }
  return absl::OkStatus();
}

absl::Status CheckSize(const MappedFile& file, const v1::RankFile& listed) {
  if (file.size() == listed.bytes()) return absl::OkStatus();
  return absl::DataLossError(absl::StrFormat(
      "%s: expected %d bytes; found %d%s", file.path(), listed.bytes(), file.size(),
      file.size() < listed.bytes() ? ": it is truncated; copy it again or shard again" : ""));
}

}  // namespace

absl::StatusOr<std::unique_ptr<ShardSource>> ShardSource::Open(const std::string& directory,
                                                               const v1::ShardManifest& manifest,
                                                               int rank) {
  const v1::RankFile* listed = FindRankFile(manifest, rank);
  if (listed == nullptr) {
    const Mesh mesh = MeshOf(manifest.set());
    return absl::NotFoundError(absl::StrFormat(
        "%s lists no file of rank %d of %d (%s); write it with trireme shard --ranks %d",
        JoinPath(directory, kManifestName), rank, mesh.ranks(), mesh.ToString(), rank));
  }
  const std::string path = JoinPath(directory, listed->name());
  // The size first: a truncated file is then said to be one.
  TRI_ASSIGN_OR_RETURN(const std::shared_ptr<const MappedFile> mapped, MappedFile::Open(path));
  TRI_RETURN_IF_ERROR(CheckSize(*mapped, *listed));
  TRI_ASSIGN_OR_RETURN(std::unique_ptr<SafetensorsFile> file, SafetensorsFile::Open(path));
  TRI_RETURN_IF_ERROR(CheckFile(*file, manifest, *listed));
  // The header hashed right, so that its tensors are those that the manifest lists.
  return std::unique_ptr<ShardSource>(new ShardSource(std::move(file)));
}

absl::Status CheckSlices(const v1::RankFile& file, const TensorTable& table, const Extent& extent) {
  std::map<std::string, const v1::SliceRecord*> listed;
  for (const v1::SliceRecord& slice : file.slices()) listed[slice.name()] = &slice;
  for (const TensorSpec& spec : table) {
    const std::optional<Slice> held = SliceFor(spec, extent);
    const auto found = listed.find(spec.name);
    if (found == listed.end()) {
      if (!held || spec.optional) continue;
      return absl::InvalidArgumentError(
          absl::StrFormat("%s lacks the slice of %s that rank %d needs; shard the checkpoint again",
                          file.name(), spec.name, file.rank()));
    }
    const v1::SliceRecord& slice = *found->second;
    const std::optional<DType> dtype = DTypeFromName(slice.dtype());
    const v1::SliceRegion& region = slice.region();
    const Slice stored{{region.row_begin(), region.row_end()},
                       {region.column_begin(), region.column_end()},
                       {region.expert_begin(), region.expert_end()}};
    const bool same = held && dtype && [&] {
      return StoredRegion(spec, *held, *dtype) == stored && slice.shape_size() == spec.shape.rank();
    }();
    if (!same) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "%s: rows [%d, %d) and columns [%d, %d) of %s are not what rank %d holds by this "
          "version's rules; shard the checkpoint again",
          file.name(), region.row_begin(), region.row_end(), region.column_begin(),
          region.column_end(), spec.name, file.rank()));
    }
    listed.erase(found);
  }
  if (listed.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat("%s holds '%s', which the model does not have",
                                                    file.name(), Printable(listed.begin()->first)));
}

}  // namespace trireme
