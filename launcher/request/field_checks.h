// What the door says of one field that is out of its limits: INVALID_ARGUMENT that names the field,
// what was expected and what was found, never what people wrote.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "google/protobuf/repeated_field.h"

namespace trireme {

// How many of something there may be.
struct Bounds {
  size_t least = 0;
  size_t most = 0;
};

absl::Status CheckIds(std::string_view field, std::span<const int32_t> ids, int64_t vocabulary);
// NaN is in no range.
absl::Status CheckRange(std::string_view field, double value, double low, double high);
absl::Status CheckCount(std::string_view field, int64_t count, Bounds bounds);
absl::Status CheckBytes(std::string_view field, std::string_view text, Bounds bounds);
// A list of texts: how many, and how long each may be.
absl::Status CheckTexts(std::string_view field,
                        const google::protobuf::RepeatedPtrField<std::string>& texts, Bounds count,
                        Bounds bytes);

}  // namespace trireme
