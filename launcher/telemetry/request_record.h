// One completion from its acceptance to its end, as metrics, traces and usage see it: numbers and
// names, never text.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "runtime/engine/request.h"

namespace trireme {

struct RequestRecord {
  std::string id;
  std::string tenant;
  std::string group;  // the last that worked on it; "": none did
  int32_t choice = 0;
  std::chrono::nanoseconds to_first_token{0};  // 0: none came
  std::chrono::nanoseconds to_end{0};
  Beginning beginning;            // in the last group
  int64_t prompt_tokens = 0;      // of choice 0; the others share it
  int64_t completion_tokens = 0;  // delivered
  int64_t cached_tokens = 0;      // of the prompt, when it was first read
  double device_seconds = 0;      // its share of the time of the groups' ranks, about
  int losses = 0;
  FinishReason finish = FinishReason::kNone;  // kCancelled: by its client
  absl::Status error;
};

}  // namespace trireme
