// multipart/form-data, as files are uploaded (RFC 7578): the parts of a body, by the boundary that
// its Content-Type names.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace trireme {

struct FormPart {
  std::string name;
  std::string filename;  // "" for a plain field
  std::string_view content;
};

// INVALID_ARGUMENT where it is none. The parts' contents are views of `body`.
absl::StatusOr<std::vector<FormPart>> ParseForm(std::string_view content_type,
                                                std::string_view body);

inline constexpr size_t kMaxFormParts = 16;

}  // namespace trireme
