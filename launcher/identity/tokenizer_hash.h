// A fingerprint of what token ids mean. The coordinator turns text into ids and a group turns ids
// into ids: were their vocabularies different, every answer would be fluent nonsense. Both sides
// compute this and compare.
#pragma once

#include <string>

#include "runtime/text/tokenizer.h"

namespace trireme {

// SHA-256, in hexadecimal, over the vocabulary's size, each token's bytes and which are special.
// Takes some 20 ms for 128k tokens.
std::string TokenizerHash(const Tokenizer& tokenizer);

}  // namespace trireme
