// One continuation of a request as the scheduler sees it.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/engine/request.h"

namespace trireme {

struct Sequence {
  Request request;
  std::vector<int32_t> tokens;  // prompt, then what was drawn
  int64_t computed = 0;  // tokens whose keys and values are in pages, or in the step in flight
  // All that the longest possible completion needs, taken at admission.
  std::vector<int32_t> pages;
  std::vector<int32_t> chunk_pages;  // of one chunk, used again by each

  int64_t prompt_size() const { return static_cast<int64_t>(request.prompt.size()); }
  int64_t generated() const { return static_cast<int64_t>(tokens.size()) - prompt_size(); }
  // Rows still to run before the next token can be drawn.
  int64_t pending() const { return static_cast<int64_t>(tokens.size()) - computed; }
};

}  // namespace trireme
