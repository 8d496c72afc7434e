#include "runtime/model/reading/gguf_reader.h"

#include "absl/strings/str_format.h"
#include "runtime/base/status_macros.h"
#include "runtime/model/reading/json_reader.h"

namespace trireme {

absl::StatusOr<int64_t> GgufReader::Within(std::string_view key, int64_t lowest,
                                           std::optional<int64_t> absent) const {
  const std::string full = absl::StrFormat("%s.%s", architecture_, key);
  if (absent && metadata_.Find(full) == nullptr) return *absent;
  TRI_ASSIGN_OR_RETURN(const int64_t value, metadata_.GetInteger(full));
  if (value < lowest || value >= kMaxExtent) {
    return absl::InvalidArgumentError(absl::StrFormat("%s: \"%s\" must be in [%d, %d]; found %d",
                                                      file_, full, lowest, kMaxExtent - 1, value));
  }
  return value;
}

absl::StatusOr<int64_t> GgufReader::Size(std::string_view key,
                                         std::optional<int64_t> absent) const {
  return Within(key, 1, absent);
}

absl::StatusOr<int64_t> GgufReader::Count(std::string_view key, int64_t absent) const {
  return Within(key, 0, absent);
}

absl::StatusOr<float> GgufReader::Positive(std::string_view key, float absent) const {
  const std::string full = absl::StrFormat("%s.%s", architecture_, key);
  if (metadata_.Find(full) == nullptr) return absent;
  TRI_ASSIGN_OR_RETURN(const double value, metadata_.GetFloat(full));
  if (!(value > 0) || !(value < 1e30)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: \"%s\" must be positive; found %g", file_, full, value));
  }
  return static_cast<float>(value);
}

}  // namespace trireme
