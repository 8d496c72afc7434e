// "layer 3 attention": what a collective is recorded as, so that a late rank's dump says where in
// the model it was. Made anew for each call, without allocation.
#pragma once

#include <algorithm>
#include <array>
#include <cstdio>
#include <string_view>

namespace trireme {

class OperationName {
 public:
  OperationName(int layer, const char* what) {
    const int written = std::snprintf(text_.data(), text_.size(), "layer %d %s", layer, what);
    size_ = written < 0 ? 0 : std::min(static_cast<size_t>(written), text_.size() - 1);
  }
  std::string_view view() const { return {text_.data(), size_}; }

 private:
  std::array<char, 48> text_{};
  size_t size_ = 0;
};

}  // namespace trireme
