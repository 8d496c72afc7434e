// Typed reads of one JSON object, with errors that name file, key, expected and found. A key whose
// value is null counts as absent.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/tensor/shape.h"

namespace trireme {

// Larger values than any model has, small enough that products of two or three do not overflow.
inline constexpr int64_t kMaxExtent = int64_t{1} << 24;

class JsonReader {
 public:
  // Both must outlive the reader.
  JsonReader(const nlohmann::json& object, std::string_view file) : object_(object), file_(file) {}

  bool Has(std::string_view key) const;
  // There, but null.
  bool IsNull(std::string_view key) const;
  absl::StatusOr<int64_t> Integer(std::string_view key, Range allowed,
                                  std::optional<int64_t> absent = std::nullopt) const;
  absl::StatusOr<float> Positive(std::string_view key, std::optional<float> absent) const;
  absl::StatusOr<bool> Boolean(std::string_view key, bool absent) const;
  // As Boolean; a number means whether it is not zero.
  absl::StatusOr<bool> Flag(std::string_view key, bool absent) const;
  absl::StatusOr<std::string> Text(std::string_view key) const;
  absl::StatusOr<JsonReader> Object(std::string_view key) const;
  // Empty where there is none.
  absl::StatusOr<std::vector<int64_t>> Integers(std::string_view key, Range allowed) const;
  // One token id or a list of them.
  absl::StatusOr<std::vector<int32_t>> Ids(std::string_view key, int64_t vocabulary) const;

  std::string_view file() const { return file_; }

 private:
  absl::Status Refused(std::string_view key, std::string_view expected,
                       const nlohmann::json& found) const;

  const nlohmann::json& object_;
  std::string_view file_;
};

}  // namespace trireme
