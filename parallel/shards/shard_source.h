// A rank's file of a shard directory as a TensorSource: every tensor is already the slice that the
// rank holds, under HuggingFace's name.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/checkpoint/safetensors.h"
#include "runtime/checkpoint/tensor_source.h"
#include "runtime/model/extent.h"
#include "runtime/model/tensor_table.h"
#include "trireme/v1/manifest.pb.h"

namespace trireme {

class ShardSource final : public TensorSource {
 public:
  // The file's size, header and identity are as the manifest says. NOT_FOUND when the manifest or
  // the directory lacks the rank; DATA_LOSS, INVALID_ARGUMENT or FAILED_PRECONDITION (a file of
  // another model) naming the file.
  static absl::StatusOr<std::unique_ptr<ShardSource>> Open(const std::string& directory,
                                                           const v1::ShardManifest& manifest,
                                                           int rank);

  Dialect dialect() const override { return Dialect::kHuggingFace; }
  bool holds_slices() const override { return true; }
  const std::vector<TensorEntry>& entries() const override { return file_->entries(); }

 private:
  explicit ShardSource(std::unique_ptr<SafetensorsFile> file) : file_(std::move(file)) {}

  std::unique_ptr<SafetensorsFile> file_;
};

// The slices that the manifest lists for a rank are those that the table gives it, no more and no
// fewer. INVALID_ARGUMENT naming the slice: the shards were cut by other rules.
absl::Status CheckSlices(const v1::RankFile& file, const TensorTable& table, const Extent& extent);

}  // namespace trireme
