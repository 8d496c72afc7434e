#include "runtime/text/stop_strings.h"

#include <algorithm>
#include <utility>

namespace trireme {
namespace {

// Bytes at the end of `text` that a stop string may begin with.
size_t UndecidedBytes(std::string_view text, const std::vector<std::string>& stops) {
  size_t undecided = 0;
  for (const std::string& stop : stops) {
    size_t length = std::min(text.size(), stop.size() - 1);
    while (length > undecided && text.substr(text.size() - length) != stop.substr(0, length)) {
      --length;
    }
    undecided = std::max(undecided, length);
  }
  return undecided;
}

}  // namespace

std::string StopStrings::Push(std::string_view piece) {
  if (matched_) return "";
  std::string text = std::exchange(held_, "") + std::string(piece);
  size_t begin = std::string::npos;
  size_t end = std::string::npos;
  for (const std::string& stop : stops_) {
    const size_t found = text.find(stop);
    if (found == std::string::npos) continue;
    if (std::pair(found + stop.size(), found) < std::pair(end, begin)) {
      begin = found;
      end = found + stop.size();
    }
  }
  if (begin != std::string::npos) {
    matched_ = true;
    text.resize(begin);
    return text;
  }
  const size_t shown = text.size() - UndecidedBytes(text, stops_);
  held_ = text.substr(shown);
  text.resize(shown);
  return text;
}

std::string StopStrings::Flush() { return std::exchange(held_, ""); }

}  // namespace trireme
