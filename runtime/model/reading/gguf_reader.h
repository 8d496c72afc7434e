// Typed reads of a GGUF file's "<architecture>.<key>" metadata, with the bounds of config.json's.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "runtime/base/gguf_metadata.h"

namespace trireme {

class GgufReader {
 public:
  // `metadata` and `file` must outlive the reader.
  GgufReader(const GgufMetadata& metadata, std::string architecture, std::string_view file)
      : metadata_(metadata), architecture_(std::move(architecture)), file_(file) {}

  // Positive and below kMaxExtent.
  absl::StatusOr<int64_t> Size(std::string_view key,
                               std::optional<int64_t> absent = std::nullopt) const;
  // As Size, or zero.
  absl::StatusOr<int64_t> Count(std::string_view key, int64_t absent) const;
  absl::StatusOr<float> Positive(std::string_view key, float absent) const;

  std::string_view file() const { return file_; }

 private:
  absl::StatusOr<int64_t> Within(std::string_view key, int64_t lowest,
                                 std::optional<int64_t> absent) const;

  const GgufMetadata& metadata_;
  std::string architecture_;
  std::string_view file_;
};

}  // namespace trireme
