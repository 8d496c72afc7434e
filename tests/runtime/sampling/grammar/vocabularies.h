// Vocabularies for the tests of grammars.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "runtime/sampling/grammar/grammar_compiler.h"
#include "runtime/text/tokenizer.h"

namespace trireme {

constexpr int32_t kByteStop = 256;
constexpr int32_t kByteSpecial = 257;

// Token b is the byte b; then a stop token, a special token, and a few tokens of several bytes,
// some of which cut a character in two.
inline GrammarVocabulary ByteVocabulary() {
  GrammarVocabulary vocabulary;
  for (int byte = 0; byte < 256; ++byte) {
    vocabulary.token_bytes.emplace_back(1, static_cast<char>(byte));
  }
  vocabulary.token_bytes.insert(vocabulary.token_bytes.end(), {"", ""});
  for (const char* text : {"{\"", "\":", "\": \"", "\"}", "12", "-1", "true", "\xC3\xA9",
                           "a\xE2\x82", "\xAC\"", "\\u", "\\\""}) {
    vocabulary.token_bytes.emplace_back(text);
  }
  vocabulary.stop_tokens = {kByteStop};
  // Logits may be wider than the tokenizer.
  vocabulary.vocab_size = static_cast<int32_t>(vocabulary.token_bytes.size()) + 7;
  return vocabulary;
}

inline GrammarVocabulary TokenizerVocabulary(const Tokenizer& tokenizer) {
  GrammarVocabulary vocabulary;
  vocabulary.token_bytes = ContentBytes(tokenizer);
  vocabulary.stop_tokens = {tokenizer.eos().value()};
  vocabulary.vocab_size = tokenizer.vocab_size();
  return vocabulary;
}

inline std::unique_ptr<GrammarCompiler> MakeCompiler(GrammarVocabulary vocabulary) {
  auto compiler = GrammarCompiler::Create(std::move(vocabulary), {});
  EXPECT_TRUE(compiler.ok()) << compiler.status();
  return *std::move(compiler);
}

inline GrammarSpec SchemaSpec(std::string schema) {
  return {GrammarSpec::Kind::kJsonSchema, std::move(schema), {}};
}
inline GrammarSpec RegexSpec(std::string regex) {
  return {GrammarSpec::Kind::kRegex, std::move(regex), {}};
}

// Whether the whole text is one of the grammar's, byte by byte.
inline bool Matches(const std::shared_ptr<const CompiledGrammar>& grammar, std::string_view text) {
  GrammarState state(grammar);
  for (const char byte : text) {
    if (!state.Accept(static_cast<unsigned char>(byte))) return false;
  }
  return state.Accept(kByteStop);
}

}  // namespace trireme
