// A tokenizer's tokens as grammars are compiled against them.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "runtime/sampling/grammar/grammar_state.h"
#include "runtime/text/tokenizer.h"

namespace trireme {

// `vocabulary`: the number of logits, which may exceed the tokenizer's tokens or fall short of
// them. `stop_tokens`: with any of them a text may end where its grammar lets it.
inline GrammarVocabulary GrammarVocabularyOf(const Tokenizer& tokenizer,
                                             std::vector<int32_t> stop_tokens, int64_t vocabulary) {
  GrammarVocabulary result;
  result.vocab_size = static_cast<int32_t>(vocabulary);
  result.stop_tokens = std::move(stop_tokens);
  for (int32_t id = 0; id < tokenizer.vocab_size() && id < vocabulary; ++id) {
    result.token_bytes.emplace_back(tokenizer.IsSpecial(id) ? std::string_view()
                                                            : tokenizer.TokenBytes(id));
  }
  return result;
}

}  // namespace trireme
