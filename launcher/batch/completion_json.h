// The JSON line of a completion (DESIGN: formats): floats in the shortest form that reads back to
// the same fp32 value, so that equal answers are equal bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/batch/batch_job.h"

namespace trireme {

// text: what the completion's tokens decode to. Log-probabilities are written where `logprobs` is
// true.
std::string CompletionJson(size_t index, const std::vector<int32_t>& prompt,
                           const Completion& completion, std::string_view text, bool logprobs);

// {"index":0,"error":{"code":"INVALID_ARGUMENT","message":"…"}}
std::string ErrorJson(size_t index, const absl::Status& error);

}  // namespace trireme
