// JSON from a checkpoint directory or a client, read as untrusted input. Beyond the grammar it
// refuses what makes two readers disagree or one of them fall over: duplicate keys (the last one
// silently wins in most parsers), nesting without end, and texts of absurd size.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace trireme {

struct JsonLimits {
  uint64_t max_bytes = 64 << 20;
  int max_depth = 32;
  uint64_t max_values = std::numeric_limits<uint64_t>::max();  // of all kinds, keys not counted
  uint64_t max_keys = std::numeric_limits<uint64_t>::max();    // of one object
  bool name_keys = true;                                       // whether an error may quote a key
};

// What ParseStrictJson refuses, for readers that build something else. Costs no memory for a value.
absl::Status CheckStrictJson(std::string_view text, std::string_view file_name,
                             const JsonLimits& limits);

// INVALID_ARGUMENT naming `file_name` and the byte where reading stopped.
absl::StatusOr<nlohmann::json> ParseStrictJson(std::string_view text, std::string_view file_name,
                                               const JsonLimits& limits = {});

// The whole file as text: NOT_FOUND, …; INVALID_ARGUMENT when larger than max_bytes.
absl::StatusOr<std::string> ReadTextFile(const std::string& path, uint64_t max_bytes);

}  // namespace trireme
