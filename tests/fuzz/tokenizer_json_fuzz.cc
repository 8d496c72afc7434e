#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "runtime/base/check.h"
#include "runtime/text/bpe/sources.h"

// Whatever the text, an accepted tokenizer encodes to ids of its own, and decodes them.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  auto vocabulary = trireme::ReadTokenizerJson(text, "fuzz");
  if (!vocabulary.ok()) {
    TRI_CHECK(vocabulary.status().ToString().find("fuzz") != std::string::npos)
        << vocabulary.status().ToString();
    return 0;
  }
  const auto tokenizer = trireme::MakeBpeTokenizer(*std::move(vocabulary));
  if (!tokenizer.ok()) return 0;
  const std::string_view some = text.substr(0, 256);
  for (const auto special : {trireme::SpecialTokens::kAsText, trireme::SpecialTokens::kParse}) {
    const auto ids = (*tokenizer)->Encode(some, special);
    if (!ids.ok()) continue;
    for (const int32_t id : *ids) TRI_CHECK(id >= 0 && id < (*tokenizer)->vocab_size()) << id;
    (void)(*tokenizer)->Decode(*ids);
  }
  return 0;
}
