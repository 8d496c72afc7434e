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
#include "runtime/checkpoint/tensor_source.h"
#include "runtime/tensor/dtype.h"
#include "runtime/tensor/shape.h"

namespace trireme {

struct SafetensorsTensor {
  std::string name;  // 1 to 512 bytes of UTF-8 without control characters
  DType dtype = DType::kF32;
  Shape shape;          // every extent at least 1
  uint64_t offset = 0;  // from the beginning of the file
  uint64_t bytes = 0;
  // Why no op can read it (then dtype and shape are meaningless), or empty.
  std::string unsupported;
};

struct SafetensorsHeader {
  std::vector<SafetensorsTensor> tensors;  // sorted by name, names unique
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
  const std::vector<TensorEntry>& entries() const override { return entries_; }
  const std::vector<UnsupportedTensor>& unsupported() const override { return unsupported_; }

  // The header's "__metadata__".
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const std::shared_ptr<const MappedFile>& file() const { return file_; }

 private:
  SafetensorsFile() = default;

  std::shared_ptr<const MappedFile> file_;
  std::vector<TensorEntry> entries_;
  std::vector<UnsupportedTensor> unsupported_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace trireme
