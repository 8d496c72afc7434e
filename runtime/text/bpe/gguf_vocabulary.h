// The tokenizer inside a GGUF file: tokenizer.ggml.tokens, .merges and .token_type, whose
// byte-level text is that of tokenizer.json, and tokenizer.ggml.pre, a name for the pre-tokenizer
// pattern instead of the pattern.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "runtime/base/gguf_metadata.h"
#include "runtime/text/bpe/vocabulary.h"

namespace trireme {

// INVALID_ARGUMENT for keys that contradict each other, NOT_FOUND for a file without a tokenizer,
// UNIMPLEMENTED for another kind of tokenizer or an unknown pre-tokenizer name. Messages name
// `source`.
absl::StatusOr<BpeVocabulary> ReadGgufVocabulary(const GgufMetadata& metadata,
                                                 const std::string& source);

}  // namespace trireme
