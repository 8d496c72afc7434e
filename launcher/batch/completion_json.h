// The JSON line of a completion (DESIGN: formats): floats in the shortest form that reads back to
// the same fp32 value, so that equal answers are equal bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/batch/batch_job.h"

namespace trireme {

// A completed prompt, or one of its completions.
struct CompletionLine {
  size_t index = 0;              // of the prompt
  std::optional<size_t> choice;  // written where there are several
  const std::vector<int32_t>& prompt;
  const Completion& completion;
  std::string_view text;         // what its tokens decode to
  bool logprobs = false;         // write them
  bool prompt_logprobs = false;  // the same of the prompt's, from its second token on
};

std::string CompletionJson(const CompletionLine& line);

// {"index":0,"error":{"code":"INVALID_ARGUMENT","message":"…"}}
std::string ErrorJson(size_t index, std::optional<size_t> choice, const absl::Status& error);

}  // namespace trireme
