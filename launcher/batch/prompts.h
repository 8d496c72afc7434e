// The prompts of a batch: from flags, or from a JSONL file of one request a line (request_json.h).
// They enter by the same door as a coordinator's (request/admission.h); only their length is left
// to the engine, which refuses the one that does not fit and goes on with the rest.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "launcher/request/admission.h"
#include "runtime/text/tokenizer.h"
#include "trireme/v1/inference.pb.h"

namespace trireme {

struct PromptFlags {
  std::string prompt;
  std::string prompt_tokens;  // "1,2,3"
  std::string prompts_file;
  bool parse_special = false;  // the text of special tokens in `prompt` becomes those tokens
};

// More than a service allows, for comparisons.
inline constexpr int32_t kMaxBatchLogprobs = 1000;

// Requests with `defaults` where a line says nothing. `model` needs its vocabulary and stop tokens;
// `tokenizer` may be null where nothing is text. INVALID_ARGUMENT naming flag, or file and line.
absl::StatusOr<std::vector<AcceptedRequest>> ReadPrompts(const PromptFlags& flags,
                                                         const v1::GenerateRequest& defaults,
                                                         const ServedModel& model,
                                                         const Tokenizer* tokenizer);

}  // namespace trireme
