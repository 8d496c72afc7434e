// A GenerateRequest as one JSON object: keys are the names of its fields in
// proto/trireme/v1/inference.proto, so that a field of the API is a key of a prompts file without
// another list. Fields of `sampling` and `constraint` stand beside the others, and a list of ids or
// choices is a JSON list: {"prompt_tokens": [1, 2], "temperature": 0.7, "choices": ["yes", "no"]}.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "trireme/v1/inference.pb.h"

namespace trireme {

// Sets in `request` what `text` holds, over what was there; a field is replaced whole. A JSON
// schema may be written as the object itself. INVALID_ARGUMENT naming an unknown key, or a value of
// another type than its field.
absl::Status ReadRequestJson(const std::string& text, v1::GenerateRequest& request);

}  // namespace trireme
