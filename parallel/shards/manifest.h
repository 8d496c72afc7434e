// manifest.json: what is in a shard directory (proto/trireme/v1/manifest.proto says field by
// field).
//
//   manifest.json               this, written last: without it the directory is not a model
//   rank-00000-of-00002.safetensors …   one file a rank, its slices tiling the file
//   config.json, tokenizer.json, …      or metadata.gguf: copies of the checkpoint's small files
//
// Reading verifies everything that the manifest can say about itself and about sizes; the bytes of
// the rank files are for shard_source.h (headers) and verify.h (all of them).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "parallel/mesh.h"
#include "runtime/model/quantization/quantization.h"
#include "trireme/v1/manifest.pb.h"

namespace trireme {

inline constexpr std::string_view kManifestName = "manifest.json";
// Of a source that is a GGUF file: its metadata without the tensors.
inline constexpr std::string_view kGgufMetadataName = "metadata.gguf";
inline constexpr uint32_t kShardFormatVersion = 3;
inline constexpr uint64_t kShardChunkBytes = 64 << 20;
inline constexpr std::string_view kAsStored = "as stored";
// Keys of a rank file's __metadata__ that tie it to its manifest.
inline constexpr std::string_view kIdentityKey = "trireme.identity";
inline constexpr std::string_view kRankKey = "trireme.rank";

std::string JoinPath(std::string_view directory, std::string_view name);
// "rank-00000-of-00002.safetensors".
std::string RankFileName(int rank, int ranks);

bool IsShardDirectory(const std::string& path);

Mesh MeshOf(const v1::ShardSet& set);
// nullopt for one that is not known.
std::optional<Quantization> QuantizationOf(const v1::ShardSet& set);
void SetQuantization(Quantization quantization, v1::ShardSet& set);
std::string IdentityOf(const v1::ShardSet& set);
// nullptr when the manifest does not list the rank.
const v1::RankFile* FindRankFile(const v1::ShardManifest& manifest, int rank);

// Fills in identity and checksum.
absl::Status WriteManifest(const std::string& directory, v1::ShardManifest manifest);

// `text` is the file's, `path` for messages. INVALID_ARGUMENT or DATA_LOSS for one that is damaged
// or contradicts itself.
absl::StatusOr<v1::ShardManifest> ParseManifest(const std::string& text, const std::string& path);

// NOT_FOUND without a manifest (saying whether a sharding was left unfinished), else as
// ParseManifest.
absl::StatusOr<v1::ShardManifest> ReadManifest(const std::string& directory);

// The small files are as the manifest says; DATA_LOSS names the one that is not.
absl::Status CheckCompanions(const std::string& directory, const v1::ShardManifest& manifest);

// Rank files in the directory that the manifest does not list, by name. A file whose journal is
// still there is not one: it is being written, or its writer was killed and will resume.
absl::StatusOr<std::vector<std::string>> StrayRankFiles(const std::string& directory,
                                                        const v1::ShardManifest& manifest);

}  // namespace trireme
