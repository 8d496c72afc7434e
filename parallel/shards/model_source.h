// A model, wherever it lies: every command that takes --model opens it here, be it a HuggingFace
// directory, a GGUF file or a shard directory.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "parallel/mesh.h"
#include "runtime/checkpoint/checkpoint.h"
#include "runtime/checkpoint/tensor_source.h"
#include "runtime/model/architecture.h"
#include "runtime/model/config.h"
#include "runtime/model/quantization/quantization.h"
#include "runtime/model/tensor_table.h"

namespace trireme {

namespace v1 {
class ShardManifest;
class ShardSet;
}  // namespace v1

// A small file that a model needs beside its weights.
struct Companion {
  std::string name;
  std::string content;
};

struct ModelSource {
  std::string path;  // as given
  ModelConfig config;
  const Architecture* architecture = nullptr;
  TensorTable table;
  // What `table` says of. Of a checkpoint: what it is to be sharded to, or planned as.
  Quantization quantization = Quantization::kNone;
  // What LoadTokenizer takes.
  std::string tokenizer_path;
  // SHA-256, in hex, over the weights' headers and samples of their bytes, configuration and
  // tokenizer, and for a shard directory its mesh: ranks with different models have different ones.
  std::string identity;

  // nullptr for a shard directory.
  std::shared_ptr<const Checkpoint> checkpoint;
  // Of a shard directory. nullptr for a checkpoint.
  std::shared_ptr<const v1::ShardManifest> manifest;

  bool sharded() const { return manifest != nullptr; }
  // A shard directory's own; nullopt for a checkpoint, which can be cut any way.
  std::optional<Mesh> mesh() const;

  // The tensors that `rank` of a shard directory's mesh holds, or all of a checkpoint. Opens the
  // rank's file and checks its size and header against manifest and table; the bytes are read when
  // touched (verify.h reads them all). NOT_FOUND, INVALID_ARGUMENT or DATA_LOSS, naming the file.
  absl::StatusOr<std::shared_ptr<const TensorSource>> TensorsOf(int rank) const;
};

// NOT_FOUND when there is nothing, or an unfinished sharding; INVALID_ARGUMENT for malformed or
// contradicting files; UNIMPLEMENTED for an unknown architecture; DATA_LOSS for damage.
absl::StatusOr<ModelSource> OpenModel(const std::string& path);

// The same from configuration and headers alone: a checkpoint's `identity`, which takes samples of
// its weights, stays empty.
absl::StatusOr<ModelSource> DescribeModel(const std::string& path);

// Makes the table of a checkpoint that of its quantised shards, and says in the log which matrices
// stay as they are. INVALID_ARGUMENT for a shard directory; otherwise as QuantizedTable.
absl::Status Quantize(Quantization quantization, ModelSource& model);

// The axes that a command line gave; nullopt where it was silent.
struct MeshRequest {
  std::optional<int> pp = std::nullopt;
  std::optional<int> ep = std::nullopt;
  std::optional<int> tp = std::nullopt;
};

// The shard directory's mesh, or the request's with 1 for what it leaves out. INVALID_ARGUMENT when
// the request contradicts the shards, or does not fit the model.
absl::StatusOr<Mesh> ChooseMesh(const ModelSource& model, const MeshRequest& request);

// What `trireme shard` copies beside the rank files, in name order.
absl::StatusOr<std::vector<Companion>> CompanionsOf(const Checkpoint& checkpoint);

// Everything about a set but its mesh. `model` is a checkpoint with these companions.
v1::ShardSet DescribeSet(const ModelSource& model, const std::vector<Companion>& companions);

}  // namespace trireme
