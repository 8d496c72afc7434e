// Text from an untrusted file on its way into an error message: bytes that are not printable ASCII
// are escaped (a terminal must not obey a tensor's name) and long text is cut.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/strings/escaping.h"

namespace trireme {

inline std::string Printable(std::string_view text) {
  constexpr size_t kMaxShown = 128;
  return absl::CHexEscape(std::string(text.substr(0, kMaxShown))) +
         (text.size() > kMaxShown ? "..." : "");
}

}  // namespace trireme
