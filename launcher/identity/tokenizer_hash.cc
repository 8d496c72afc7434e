#include "launcher/identity/tokenizer_hash.h"

#include <openssl/sha.h>

#include <array>
#include <cstdint>

#include "absl/strings/escaping.h"
#include "runtime/base/check.h"

namespace trireme {

std::string TokenizerHash(const Tokenizer& tokenizer) {
  // One string in a fixed form: each token's length and kind stand before its bytes, so that no two
  // vocabularies give the same one.
  std::string text;
  const auto append = [&text](uint32_t value) {
    for (int shift = 0; shift < 32; shift += 8) text.push_back(static_cast<char>(value >> shift));
  };
  append(static_cast<uint32_t>(tokenizer.vocab_size()));
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    const std::string_view bytes = tokenizer.TokenBytes(id);
    append(static_cast<uint32_t>(bytes.size()));
    text.push_back(tokenizer.IsSpecial(id) ? 's' : 't');
    text.append(bytes);
  }
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest{};
  TRI_CHECK(SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(),
                   digest.data()) != nullptr);
  return absl::BytesToHexString({reinterpret_cast<const char*>(digest.data()), digest.size()});
}

}  // namespace trireme
