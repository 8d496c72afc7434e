// The safetensors format: 8 bytes of header length (little-endian), a JSON object that gives each
// tensor's dtype, shape and byte range, then the bytes themselves with no holes between tensors.
//
//   {"__metadata__": {"format": "pt"},
//    "model.norm.weight": {"dtype": "BF16", "shape": [576], "data_offsets": [0, 1152]}, …}
//
// The header is read once, strictly: after ParseSafetensorsHeader returns, every tensor's range
// lies in the file, agrees with its dtype and shape, and overlaps no other. The tensors' bytes are
// not touched.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/base/mapped_file.h"
#include "runtime/checkpoint/stored_tensor.h"
#include "runtime/checkpoint/tensor_source.h"

namespace trireme {

struct SafetensorsHeader {
  // Sorted by name; names are unique, 1 to 512 bytes of UTF-8 without control characters.
  std::vector<StoredTensor> tensors;
  std::map<std::string, std::string> metadata;
};

// `file` is the whole file; only its header is read. `file_name` is for messages. INVALID_ARGUMENT
// names file, tensor, and what was expected and found. Besides the format's own dtypes, those of
// GGUF's blocks
// ("Q4_1", …) are accepted: our shard files use them.
absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(std::span<const std::byte> file,
                                                         std::string_view file_name);

class SafetensorsFile final : public TensorSource {
 public:
  static absl::StatusOr<std::unique_ptr<SafetensorsFile>> Open(const std::string& path);

  Dialect dialect() const override { return Dialect::kHuggingFace; }
  const std::vector<TensorEntry>& entries() const override { return tensors_.entries; }
  const std::vector<UnsupportedTensor>& unsupported() const override {
    return tensors_.unsupported;
  }

  // The header's "__metadata__".
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const std::shared_ptr<const MappedFile>& file() const { return file_; }

 private:
  SafetensorsFile() = default;

  std::shared_ptr<const MappedFile> file_;
  ViewedTensors tensors_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace trireme
