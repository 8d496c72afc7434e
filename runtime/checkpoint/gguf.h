// A GGUF file as a TensorSource. After the metadata (runtime/base/gguf_metadata.h) stands one entry
// a tensor, then padding, then the tensors' bytes:
//
//   entry = string name | u32 axes | u64 extents, innermost first | u32 type | u64 offset into the
//   data
//
// Our shapes are outermost first, so a matrix listed as [columns, rows] becomes Shape{rows,
// columns}. Each offset is a multiple of "general.alignment" (32 unless the metadata says
// otherwise). As with safetensors, everything is verified on opening and the tensors' bytes are not
// touched.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/base/gguf_metadata.h"
#include "runtime/base/mapped_file.h"
#include "runtime/checkpoint/stored_tensor.h"
#include "runtime/checkpoint/tensor_source.h"

namespace trireme {

// Sorted by name, names unique. `metadata` was parsed from `file`, which is the whole file;
// `file_name` is for messages. INVALID_ARGUMENT names file, tensor, and what was expected and
// found. Types other than F32, F16, BF16, I32, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K and Q6_K
// are listed as unsupported.
absl::StatusOr<std::vector<StoredTensor>> ParseGgufTensors(std::span<const std::byte> file,
                                                           const GgufMetadata& metadata,
                                                           std::string_view file_name);

class GgufFile final : public TensorSource {
 public:
  static absl::StatusOr<std::unique_ptr<GgufFile>> Open(const std::string& path);

  Dialect dialect() const override { return Dialect::kGguf; }
  const std::vector<TensorEntry>& entries() const override { return tensors_.entries; }
  const std::vector<UnsupportedTensor>& unsupported() const override {
    return tensors_.unsupported;
  }

  // Valid while this source lives.
  const GgufMetadata& metadata() const { return metadata_; }
  const std::shared_ptr<const MappedFile>& file() const { return file_; }

 private:
  GgufFile(std::shared_ptr<const MappedFile> file, GgufMetadata metadata, ViewedTensors tensors);

  std::shared_ptr<const MappedFile> file_;  // outlives metadata_, which points into it
  GgufMetadata metadata_;
  ViewedTensors tensors_;
};

}  // namespace trireme
