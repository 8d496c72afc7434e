// Llama 4's own keys of config.json and of GGUF metadata.
#pragma once

#include "absl/status/status.h"
#include "runtime/model/config.h"
#include "runtime/model/reading/gguf_reader.h"
#include "runtime/model/reading/json_reader.h"

namespace trireme {

absl::Status ReadLlama4Json(const JsonReader& text, const JsonReader& whole, ModelConfig& config);

// llama.cpp's keys. What it holds for fixed in this family (chunks of 8192, every fourth layer
// without rotary embedding, growth of Q from position 8191) is fixed here too.
absl::Status ReadLlama4Gguf(const GgufReader& reader, ModelConfig& config);

}  // namespace trireme
