// A model as its author published it: a HuggingFace directory (config.json beside safetensors) or a
// GGUF file. Opening one finds its parts and verifies the tensors' headers; what the parts mean is
// for model/config.h (hyper-parameters) and text/tokenizer.h, which takes the same path.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "runtime/base/gguf_metadata.h"
#include "runtime/checkpoint/tensor_source.h"

namespace trireme {

struct Checkpoint {
  std::string path;  // as given
  std::unique_ptr<TensorSource> tensors;

  // Of a HuggingFace directory; "" for GGUF.
  std::string config_path;             // for messages
  std::string config_json;             // the file's text, not yet parsed
  std::string generation_config_json;  // "" when the directory has none

  // Of a GGUF file, owned by `tensors`; nullptr for HuggingFace.
  const GgufMetadata* gguf = nullptr;
};

// Decides by what is there, not by the path's spelling: a directory with config.json, or a file
// that begins with "GGUF". NOT_FOUND or INVALID_ARGUMENT say what was looked for and what was
// found.
absl::StatusOr<Checkpoint> OpenCheckpoint(const std::string& path);

}  // namespace trireme
