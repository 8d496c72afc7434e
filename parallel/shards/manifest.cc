#include "parallel/shards/manifest.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <bit>
#include <filesystem>
#include <optional>
#include <set>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "parallel/sha256.h"
#include "parallel/shards/durable_file.h"
#include "runtime/base/checked_math.h"
#include "runtime/base/printable.h"
#include "runtime/base/status_macros.h"
#include "runtime/checkpoint/strict_json.h"
#include "runtime/model/quantization/quantization.h"
#include "runtime/tensor/dtype.h"

namespace trireme {
namespace {

// A slice takes some 300 bytes: enough for 64 ranks of a model of 10,000 tensors.
constexpr uint64_t kMaxManifestBytes = 256 << 20;
constexpr uint64_t kMaxCompanionBytes = 256 << 20;

// Protobuf's serialisation of a message without maps and unknown fields: fields by number.
std::string Sha256Of(const google::protobuf::Message& message) {
  return Sha256Hex(std::string_view(message.SerializeAsString()));
}

// Stands for the checksum in the text that it is the checksum of.
constexpr std::string_view kNoChecksum =
    "0000000000000000000000000000000000000000000000000000000000000000";

// `text` with the last occurrence of `from` replaced by `to`, of the same length.
std::string ReplaceLast(std::string text, std::string_view from, std::string_view to) {
  const size_t at = text.rfind(from);
  if (at != std::string::npos) text.replace(at, from.size(), to);
  return text;
}

absl::Status Wrong(std::string message) { return absl::InvalidArgumentError(message); }

bool IsPlainName(std::string_view name) {
  return !name.empty() && name.size() <= 255 && name.front() != '.' &&
         name.find('/') == std::string_view::npos && name.find('\0') == std::string_view::npos;
}

absl::Status CheckSet(const v1::ShardSet& set) {
  if (set.format_version() != kShardFormatVersion) {
    return Wrong(absl::StrFormat("expected shard format %d; found %d; shard the checkpoint again",
                                 kShardFormatVersion, set.format_version()));
  }
  if (!QuantizationOf(set)) {
    return Wrong(absl::StrFormat("expected quantization \"%s\", \"%s\" or \"%s\"; found \"%s\"",
                                 kAsStored, Name(Quantization::kInt8), Name(Quantization::kInt4),
                                 Printable(set.quantization())));
  }
  const v1::MeshAxes& mesh = set.mesh();
  const bool bounded = mesh.pp() >= 1 && mesh.pp() <= kMaxStages && mesh.ep() >= 1 &&
                       mesh.ep() <= kMaxShards && mesh.tp() >= 1 && mesh.tp() <= kMaxShards;
  if (!bounded || mesh.ep() * mesh.tp() > kMaxShards ||
      !std::has_single_bit(mesh.ep() * mesh.tp())) {
    return Wrong(
        absl::StrFormat("expected a mesh of pp >= 1 and a power of two ep * tp; found "
                        "pp=%d ep=%d tp=%d",
                        mesh.pp(), mesh.ep(), mesh.tp()));
  }
  std::set<std::string> names;
  for (const v1::CompanionFile& file : set.companion_files()) {
    if (!IsPlainName(file.name()) || !names.insert(file.name()).second ||
        !IsSha256Hex(file.sha256())) {
      return Wrong(
          absl::StrFormat("companion file \"%s\": expected a plain name, listed once, and "
                          "a SHA-256",
                          Printable(file.name())));
    }
  }
  return absl::OkStatus();
}

// Compared without subtracting, so that no value overflows.
bool Spans(int64_t begin, int64_t end, int64_t extent) {
  return extent >= 1 && begin >= 0 && begin < end && end - begin == extent;
}

// Bytes of the stored shape, or nullopt when dtype, shape and region do not agree.
std::optional<uint64_t> BytesOf(const v1::SliceRecord& slice) {
  const std::optional<DType> dtype = DTypeFromName(slice.dtype());
  const int rank = slice.shape_size();
  if (!dtype || rank < 1 || rank > 3) return std::nullopt;
  const int64_t experts = rank == 3 ? slice.shape(0) : 1;
  const int64_t rows = slice.shape(rank == 3 ? 1 : 0);
  const int64_t columns = rank == 1 ? 1 : slice.shape(rank - 1);
  const v1::SliceRegion& region = slice.region();
  if (!Spans(region.expert_begin(), region.expert_end(), experts) ||
      !Spans(region.row_begin(), region.row_end(), rows) ||
      !Spans(region.column_begin(), region.column_end(), columns)) {
    return std::nullopt;
  }
  const DTypeTraits& traits = Traits(*dtype);
  if ((rank == 1 ? rows : columns) % traits.block_elements != 0) return std::nullopt;
  const auto matrix = CheckedMul(static_cast<uint64_t>(rows), static_cast<uint64_t>(columns));
  if (!matrix) return std::nullopt;
  const auto elements = CheckedMul(*matrix, static_cast<uint64_t>(experts));
  if (!elements) return std::nullopt;
  return CheckedMul(*elements / static_cast<uint64_t>(traits.block_elements),
                    static_cast<uint64_t>(traits.block_bytes));
}

absl::Status CheckRankFile(const v1::RankFile& file, int ranks) {
  const std::string& name = file.name();
  if (static_cast<int64_t>(file.rank()) >= ranks ||
      name != RankFileName(static_cast<int>(file.rank()), ranks)) {
    return Wrong(absl::StrFormat("rank %d of %d cannot have the file name \"%s\"", file.rank(),
                                 ranks, Printable(name)));
  }
  if (file.chunk_bytes() == 0 || !IsSha256Hex(file.header_sha256())) {
    return Wrong(name + ": expected chunk_bytes above 0 and a SHA-256 of the header");
  }
  uint64_t end = file.header_bytes();
  std::set<std::string> names;
  for (const v1::SliceRecord& slice : file.slices()) {
    const std::string where = absl::StrFormat("%s: slice '%s'", name, Printable(slice.name()));
    const std::optional<uint64_t> bytes = BytesOf(slice);
    if (!bytes || *bytes != slice.bytes()) {
      return Wrong(where + ": its dtype, shape, region and bytes do not agree");
    }
    const std::optional<uint64_t> next = CheckedAdd(end, slice.bytes());
    if (slice.offset() != end || !next || !names.insert(slice.name()).second) {
      return Wrong(
          absl::StrFormat("%s: expected slices listed once, one after another; found "
                          "offset %d where %d ends the one before",
                          where, slice.offset(), end));
    }
    end = *next;
    const uint64_t chunks =
        slice.bytes() / file.chunk_bytes() + (slice.bytes() % file.chunk_bytes() == 0 ? 0 : 1);
    if (static_cast<uint64_t>(slice.chunk_sha256_size()) != chunks) {
      return Wrong(absl::StrFormat("%s: expected %d chunk checksums; found %d", where, chunks,
                                   slice.chunk_sha256_size()));
    }
    for (const std::string& digest : slice.chunk_sha256()) {
      if (!IsSha256Hex(digest)) return Wrong(where + ": a checksum is no SHA-256");
    }
  }
  if (end != file.bytes()) {
    return Wrong(absl::StrFormat("%s: its slices end at %d; the file is said to have %d bytes",
                                 name, end, file.bytes()));
  }
  return absl::OkStatus();
}

// Over the text, not over what it parses to: readers of JSON forgive some damage.
absl::Status CheckChecksum(const v1::ShardManifest& manifest, const std::string& text) {
  if (IsSha256Hex(manifest.checksum()) &&
      Sha256Hex(ReplaceLast(text, manifest.checksum(), kNoChecksum)) == manifest.checksum()) {
    return absl::OkStatus();
  }
  return absl::DataLossError(
      "its checksum does not match its content: it was damaged or edited; restore it, or delete "
      "the directory and shard the checkpoint again");
}

absl::Status CheckManifest(const v1::ShardManifest& manifest) {
  TRI_RETURN_IF_ERROR(CheckSet(manifest.set()));
  if (manifest.identity() != IdentityOf(manifest.set())) {
    return absl::DataLossError(absl::StrFormat("expected identity %s; found \"%s\"",
                                               IdentityOf(manifest.set()),
                                               Printable(manifest.identity())));
  }
  const int ranks = MeshOf(manifest.set()).ranks();
  int64_t before = -1;
  for (const v1::RankFile& file : manifest.rank_files()) {
    if (static_cast<int64_t>(file.rank()) <= before) {
      return Wrong(absl::StrFormat("rank %d is listed twice or out of order", file.rank()));
    }
    before = file.rank();
    TRI_RETURN_IF_ERROR(CheckRankFile(file, ranks));
  }
  return absl::OkStatus();
}

bool Exists(const std::string& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

absl::StatusOr<std::vector<std::string>> FilesIn(const std::string& directory) {
  std::error_code error;
  std::filesystem::directory_iterator entries(directory, error);
  std::vector<std::string> names;
  for (; !error && entries != std::filesystem::directory_iterator(); entries.increment(error)) {
    names.push_back(entries->path().filename().string());
  }
  if (error) return FileError("list", directory, error.value());
  return names;
}

// Of a finished or an unfinished sharding.
bool HoldsRankFiles(const std::string& directory) {
  const absl::StatusOr<std::vector<std::string>> names = FilesIn(directory);
  return names.ok() && std::any_of(names->begin(), names->end(), [](const std::string& name) {
           return absl::StartsWith(name, "rank-") && absl::StrContains(name, ".safetensors");
         });
}

}  // namespace

std::string JoinPath(std::string_view directory, std::string_view name) {
  return (std::filesystem::path(directory) / name).string();
}

std::string RankFileName(int rank, int ranks) {
  return absl::StrFormat("rank-%05d-of-%05d.safetensors", rank, ranks);
}

bool IsShardDirectory(const std::string& path) {
  return Exists(JoinPath(path, kManifestName)) || HoldsRankFiles(path);
}

Mesh MeshOf(const v1::ShardSet& set) {
  return {.pp = static_cast<int>(set.mesh().pp()),
          .ep = static_cast<int>(set.mesh().ep()),
          .tp = static_cast<int>(set.mesh().tp())};
}

std::optional<Quantization> QuantizationOf(const v1::ShardSet& set) {
  if (set.quantization() == kAsStored) return Quantization::kNone;
  const auto named = QuantizationFromName(set.quantization());
  return named == Quantization::kNone ? std::nullopt : named;
}

void SetQuantization(Quantization quantization, v1::ShardSet& set) {
  set.set_quantization(
      std::string(quantization == Quantization::kNone ? kAsStored : Name(quantization)));
}

std::string IdentityOf(const v1::ShardSet& set) { return Sha256Of(set); }

const v1::RankFile* FindRankFile(const v1::ShardManifest& manifest, int rank) {
  for (const v1::RankFile& file : manifest.rank_files()) {
    if (static_cast<int64_t>(file.rank()) == rank) return &file;
  }
  return nullptr;
}

absl::Status WriteManifest(const std::string& directory, v1::ShardManifest manifest) {
  manifest.set_identity(IdentityOf(manifest.set()));
  manifest.set_checksum(std::string(kNoChecksum));
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  std::string text;
  const auto status = google::protobuf::util::MessageToJsonString(manifest, &text, options);
  if (!status.ok()) return absl::InternalError("manifest to JSON: " + status.ToString());
  return WriteFileDurably(JoinPath(directory, kManifestName),
                          ReplaceLast(text, kNoChecksum, Sha256Hex(text)));
}

absl::StatusOr<v1::ShardManifest> ParseManifest(const std::string& text, const std::string& path) {
  v1::ShardManifest manifest;
  const auto parsed = google::protobuf::util::JsonStringToMessage(text, &manifest);
  if (!parsed.ok()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: expected a shard manifest of format %d; found: %s", path,
                        kShardFormatVersion, Printable(parsed.ToString())));
  }
  absl::Status status = CheckManifest(manifest);
  if (status.ok()) status = CheckChecksum(manifest, text);
  if (!status.ok()) {
    return absl::Status(status.code(),
                        absl::StrFormat("%s: %s", path, std::string(status.message())));
  }
  return manifest;
}

absl::StatusOr<v1::ShardManifest> ReadManifest(const std::string& directory) {
  const std::string path = JoinPath(directory, kManifestName);
  if (!Exists(path) && HoldsRankFiles(directory)) {
    return absl::NotFoundError(absl::StrFormat(
        "%s has rank files but no %s: the sharding did not end; run the same trireme shard command "
        "again, it resumes",
        directory, kManifestName));
  }
  TRI_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path, kMaxManifestBytes));
  return ParseManifest(text, path);
}

absl::Status CheckCompanions(const std::string& directory, const v1::ShardManifest& manifest) {
  for (const v1::CompanionFile& file : manifest.set().companion_files()) {
    const std::string path = JoinPath(directory, file.name());
    TRI_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path, kMaxCompanionBytes));
    if (Sha256Hex(text) != file.sha256()) {
      return absl::DataLossError(absl::StrFormat(
          "%s is not the file that %s lists: expected %d bytes with SHA-256 %s; found %d bytes "
          "with %s; the manifest is of another model, or the file changed: restore them, or shard "
          "the checkpoint again",
          path, kManifestName, file.bytes(), file.sha256(), text.size(), Sha256Hex(text)));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> StrayRankFiles(const std::string& directory,
                                                        const v1::ShardManifest& manifest) {
  std::set<std::string> listed;
  for (const v1::RankFile& file : manifest.rank_files()) listed.insert(file.name());
  TRI_ASSIGN_OR_RETURN(std::vector<std::string> names, FilesIn(directory));
  std::erase_if(names, [&](const std::string& name) {
    return !absl::StartsWith(name, "rank-") || !absl::EndsWith(name, ".safetensors") ||
           listed.contains(name) || Exists(PartialFile::JournalPath(JoinPath(directory, name)));
  });
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace trireme
