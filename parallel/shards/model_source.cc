#include "parallel/shards/model_source.h"

#include <algorithm>
#include <array>
#include <map>
#include <span>
#include <utility>

#include "absl/strings/str_format.h"
#include "parallel/sha256.h"
#include "parallel/shards/manifest.h"
#include "parallel/shards/shard_source.h"
#include "runtime/base/log.h"
#include "runtime/base/status_macros.h"
#include "runtime/checkpoint/strict_json.h"
#include "trireme/v1/manifest.pb.h"

namespace trireme {
namespace {

constexpr uint64_t kMaxCompanionBytes = 256 << 20;
// Of the middle of a tensor; and of how many tensors, evenly chosen, so that a large checkpoint on
// a slow disk still opens in seconds.
constexpr uint64_t kSampleBytes = 1024;
constexpr size_t kMaxSamples = 2048;

// Sorted; config.json is required, the others are copied where they exist.
constexpr std::array<std::string_view, 9> kHuggingFaceCompanions = {
    "added_tokens.json", "chat_template.jinja",    "chat_template.json",
    "config.json",       "generation_config.json", "special_tokens_map.json",
    "tokenizer.json",    "tokenizer.model",        "tokenizer_config.json"};

// Forgets the mapped pages that hold `bytes` bytes at `data`, and those that the kernel mapped
// around them.
void DropPagesAround(const MappedFile& file, const std::byte* data, uint64_t bytes) {
  // A page fault maps up to 64 KiB of what the page cache holds nearby.
  constexpr uint64_t kFaultAround = 64 << 10;
  const auto offset = static_cast<uint64_t>(data - file.bytes().data());
  const uint64_t begin = offset - std::min(offset, kFaultAround);
  file.DropPages(begin, offset + bytes + kFaultAround - begin);
}

void SampleTensor(const TensorEntry& entry, Sha256& hash) {
  const auto bytes = static_cast<uint64_t>(entry.view.bytes());
  const uint64_t sampled = std::min(bytes, kSampleBytes);
  const std::byte* middle = entry.view.data + (bytes - sampled) / 2;
  hash.Add(std::span(middle, sampled));
  DropPagesAround(*entry.file, middle, sampled);
}

// Of every `stride`-th tensor.
v1::SourceFile FingerprintFile(const MappedFile& file,
                               const std::vector<const TensorEntry*>& entries, size_t stride) {
  uint64_t header = file.size();
  for (const TensorEntry* entry : entries) {
    header = std::min(header, static_cast<uint64_t>(entry->view.data - file.bytes().data()));
  }
  Sha256 hash;
  hash.Add(file.size());
  hash.Add(header);
  hash.Add(file.bytes().first(header));
  file.DropPages(0, header);
  // Each sample would otherwise read megabytes ahead.
  file.ReadAhead(false);
  for (size_t i = 0; i < entries.size(); i += stride) SampleTensor(*entries[i], hash);
  file.ReadAhead(true);
  v1::SourceFile described;
  described.set_bytes(file.size());
  described.set_fingerprint(hash.HexDigest());
  return described;
}

// One a file, in the order of each file's first tensor by name, so that renaming files changes
// nothing.
std::vector<v1::SourceFile> FingerprintSource(const TensorSource& source) {
  std::vector<const MappedFile*> files;
  std::map<const MappedFile*, std::vector<const TensorEntry*>> entries;
  for (const TensorEntry& entry : source.entries()) {
    std::vector<const TensorEntry*>& of_file = entries[entry.file.get()];
    if (of_file.empty()) files.push_back(entry.file.get());
    of_file.push_back(&entry);
  }
  const size_t stride = (source.entries().size() + kMaxSamples - 1) / kMaxSamples;
  std::vector<v1::SourceFile> described;
  for (const MappedFile* file : files) {
    described.push_back(FingerprintFile(*file, entries[file], stride));
  }
  return described;
}

// A GGUF file says that the head is the embedding table by having no tensor for the head.
bool HeadIsMissing(const Architecture& architecture, const ModelConfig& config,
                   const TensorSource& source) {
  const TensorTable table = architecture.tensors(config);
  return std::any_of(table.begin(), table.end(), [&](const TensorSpec& spec) {
    return spec.along == Along::kVocabulary && spec.holder == Holder::kLastStage &&
           source.Find(spec.gguf_name) == nullptr;
  });
}

absl::Status SetArchitecture(ModelSource& model) {
  TRI_ASSIGN_OR_RETURN(model.architecture, FindArchitecture(model.config.architecture));
  return absl::OkStatus();
}

// Says once what of the checkpoint is left aside.
void LogForeignTensors(const Architecture& architecture, const TensorSource& source) {
  int64_t count = 0;
  const auto is_foreign = [&](const std::string& name) {
    return std::any_of(architecture.foreign_prefixes.begin(), architecture.foreign_prefixes.end(),
                       [&](std::string_view prefix) { return name.starts_with(prefix); });
  };
  for (const TensorEntry& entry : source.entries()) count += is_foreign(entry.name) ? 1 : 0;
  for (const UnsupportedTensor& tensor : source.unsupported()) {
    count += is_foreign(tensor.name) ? 1 : 0;
  }
  if (count == 0) return;
  LogInfo("tensors that are not of the language model are skipped", {{"count", count}});
}

absl::StatusOr<ModelSource> OpenCheckpointModel(const std::string& path) {
  TRI_ASSIGN_OR_RETURN(Checkpoint opened, OpenCheckpoint(path));
  const auto checkpoint = std::make_shared<const Checkpoint>(std::move(opened));
  ModelSource model;
  model.path = path;
  model.tokenizer_path = path;
  model.checkpoint = checkpoint;
  if (checkpoint->gguf != nullptr) {
    TRI_ASSIGN_OR_RETURN(model.config, ConfigFromGguf(*checkpoint->gguf, path));
    TRI_RETURN_IF_ERROR(SetArchitecture(model));
    model.config.tied_head = HeadIsMissing(*model.architecture, model.config, *checkpoint->tensors);
  } else {
    TRI_ASSIGN_OR_RETURN(model.config, ConfigFromHuggingFace(checkpoint->config_json,
                                                             checkpoint->generation_config_json,
                                                             checkpoint->config_path));
    TRI_RETURN_IF_ERROR(SetArchitecture(model));
  }
  model.table = model.architecture->tensors(model.config);
  return model;
}

absl::StatusOr<ModelConfig> ReadShardConfig(const std::string& directory,
                                            const v1::ShardManifest& manifest) {
  const auto has = [&](std::string_view name) {
    return std::any_of(manifest.set().companion_files().begin(),
                       manifest.set().companion_files().end(),
                       [&](const v1::CompanionFile& file) { return file.name() == name; });
  };
  if (has(kGgufMetadataName)) {
    const std::string path = JoinPath(directory, kGgufMetadataName);
    TRI_ASSIGN_OR_RETURN(const std::shared_ptr<const MappedFile> file, MappedFile::Open(path));
    TRI_ASSIGN_OR_RETURN(const GgufMetadata metadata, GgufMetadata::Parse(file->bytes(), path));
    return ConfigFromGguf(metadata, path);
  }
  const std::string path = JoinPath(directory, "config.json");
  TRI_ASSIGN_OR_RETURN(const std::string config, ReadTextFile(path, kMaxCompanionBytes));
  std::string generation;
  if (has("generation_config.json")) {
    TRI_ASSIGN_OR_RETURN(generation, ReadTextFile(JoinPath(directory, "generation_config.json"),
                                                  kMaxCompanionBytes));
  }
  return ConfigFromHuggingFace(config, generation, path);
}

absl::StatusOr<ModelSource> OpenShardModel(const std::string& path) {
  TRI_ASSIGN_OR_RETURN(v1::ShardManifest manifest, ReadManifest(path));
  TRI_RETURN_IF_ERROR(CheckCompanions(path, manifest));
  TRI_ASSIGN_OR_RETURN(const std::vector<std::string> strays, StrayRankFiles(path, manifest));
  if (!strays.empty()) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "%s is not listed in %s: it belongs to another model or mesh; delete it, or shard into an "
        "empty directory",
        JoinPath(path, strays.front()), kManifestName));
  }
  ModelSource model;
  model.path = path;
  TRI_ASSIGN_OR_RETURN(model.config, ReadShardConfig(path, manifest));
  TRI_RETURN_IF_ERROR(SetArchitecture(model));
  if (model.architecture->name != manifest.set().architecture()) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s is of a %s model, but the configuration beside it of a %s",
        JoinPath(path, kManifestName), manifest.set().architecture(), model.architecture->name));
  }
  model.config.tied_head = manifest.set().tied_head();
  TRI_RETURN_IF_ERROR(CheckMesh(model.config, MeshOf(manifest.set())));
  // The manifest was checked for it.
  model.quantization = *QuantizationOf(manifest.set());
  TRI_ASSIGN_OR_RETURN(model.table, QuantizedTable(model.architecture->tensors(model.config),
                                                   model.config, model.quantization));
  const std::string gguf = JoinPath(path, kGgufMetadataName);
  const auto& files = manifest.set().companion_files();
  const bool from_gguf = std::any_of(files.begin(), files.end(), [](const auto& file) {
    return file.name() == kGgufMetadataName;
  });
  model.tokenizer_path = from_gguf ? gguf : path;
  model.identity = manifest.identity();
  model.manifest = std::make_shared<const v1::ShardManifest>(std::move(manifest));
  return model;
}

absl::Status Contradicts(const ModelSource& model, const Mesh& own, std::string_view axis,
                         int asked) {
  return absl::InvalidArgumentError(absl::StrFormat(
      "%s is sharded for %s; got %s=%d; leave --%s out, or shard the checkpoint for the other mesh",
      model.path, own.ToString(), axis, asked, axis));
}

}  // namespace

std::optional<Mesh> ModelSource::mesh() const {
  if (!sharded()) return std::nullopt;
  return MeshOf(manifest->set());
}

absl::StatusOr<std::shared_ptr<const TensorSource>> ModelSource::TensorsOf(int rank) const {
  if (!sharded()) {
    return std::shared_ptr<const TensorSource>(checkpoint, checkpoint->tensors.get());
  }
  TRI_ASSIGN_OR_RETURN(std::unique_ptr<ShardSource> source,
                       ShardSource::Open(path, *manifest, rank));
  TRI_ASSIGN_OR_RETURN(const Extent extent, MakeExtent(config, PlaceOf(*mesh(), rank)));
  TRI_RETURN_IF_ERROR(CheckSlices(*FindRankFile(*manifest, rank), table, extent));
  return std::shared_ptr<const TensorSource>(std::move(source));
}

absl::StatusOr<ModelSource> OpenModel(const std::string& path) {
  TRI_ASSIGN_OR_RETURN(ModelSource model, DescribeModel(path));
  if (model.sharded()) return model;
  LogForeignTensors(*model.architecture, *model.checkpoint->tensors);
  TRI_ASSIGN_OR_RETURN(const std::vector<Companion> companions, CompanionsOf(*model.checkpoint));
  model.identity = IdentityOf(DescribeSet(model, companions));
  return model;
}

absl::StatusOr<ModelSource> DescribeModel(const std::string& path) {
  return IsShardDirectory(path) ? OpenShardModel(path) : OpenCheckpointModel(path);
}

absl::StatusOr<Mesh> ChooseMesh(const ModelSource& model, const MeshRequest& request) {
  if (const std::optional<Mesh> own = model.mesh()) {
    if (request.tp.value_or(own->tp) != own->tp) {
      return Contradicts(model, *own, "tp", *request.tp);
    }
    if (request.pp.value_or(own->pp) != own->pp) {
      return Contradicts(model, *own, "pp", *request.pp);
    }
    if (request.ep.value_or(own->ep) != own->ep) {
      return Contradicts(model, *own, "ep", *request.ep);
    }
    return *own;
  }
  const Mesh mesh{
      .pp = request.pp.value_or(1), .ep = request.ep.value_or(1), .tp = request.tp.value_or(1)};
  TRI_RETURN_IF_ERROR(CheckMesh(model.config, mesh));
  return mesh;
}

absl::Status Quantize(Quantization quantization, ModelSource& model) {
  if (quantization == Quantization::kNone) return absl::OkStatus();
  if (model.sharded()) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s is sharded already; quantise while you shard the checkpoint that it was made from",
        model.path));
  }
  const std::vector<std::string> unfit = UnfitForBlocks(model.table, model.config);
  TRI_ASSIGN_OR_RETURN(model.table,
                       QuantizedTable(std::move(model.table), model.config, quantization));
  model.quantization = quantization;
  if (!unfit.empty()) {
    LogWarning("matrices stay as they are: blocks of 32 do not fit their inputs",
               {{"count", unfit.size()}, {"first", unfit.front()}});
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Companion>> CompanionsOf(const Checkpoint& checkpoint) {
  if (checkpoint.gguf != nullptr) {
    return std::vector<Companion>{
        {std::string(kGgufMetadataName), checkpoint.gguf->CopyWithoutTensors()}};
  }
  std::vector<Companion> companions;
  for (const std::string_view name : kHuggingFaceCompanions) {
    absl::StatusOr<std::string> content =
        ReadTextFile(JoinPath(checkpoint.path, name), kMaxCompanionBytes);
    if (absl::IsNotFound(content.status())) continue;
    if (!content.ok()) return content.status();
    companions.push_back({std::string(name), *std::move(content)});
  }
  return companions;
}

v1::ShardSet DescribeSet(const ModelSource& model, const std::vector<Companion>& companions) {
  v1::ShardSet set;
  set.set_format_version(kShardFormatVersion);
  set.set_architecture(std::string(model.architecture->name));
  set.set_tied_head(model.config.tied_head);
  SetQuantization(model.quantization, set);
  for (v1::SourceFile& file : FingerprintSource(*model.checkpoint->tensors)) {
    *set.add_source_files() = std::move(file);
  }
  for (const Companion& companion : companions) {
    v1::CompanionFile& file = *set.add_companion_files();
    file.set_name(companion.name);
    file.set_bytes(companion.content.size());
    file.set_sha256(Sha256Hex(companion.content));
  }
  return set;
}

}  // namespace trireme
