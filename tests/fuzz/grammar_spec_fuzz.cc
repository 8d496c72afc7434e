#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "runtime/base/check.h"
#include "runtime/sampling/grammar/grammar_compiler.h"

namespace {

trireme::GrammarCompiler& Compiler() {
  static const std::unique_ptr<trireme::GrammarCompiler> compiler = [] {
    trireme::GrammarVocabulary vocabulary;
    for (int byte = 0; byte < 256; ++byte) {
      vocabulary.token_bytes.emplace_back(1, static_cast<char>(byte));
    }
    vocabulary.stop_tokens = {256};
    vocabulary.vocab_size = 257;
    auto made = trireme::GrammarCompiler::Create(std::move(vocabulary), {.cache_bytes = 0});
    TRI_CHECK(made.ok()) << made.status().ToString();
    return *std::move(made);
  }();
  return *compiler;
}

}  // namespace

// The first byte is the kind. What compiles always allows some token, and takes what it allows.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  trireme::GrammarSpec spec;
  spec.text.assign(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0]) {
    case 's':
      spec.kind = trireme::GrammarSpec::Kind::kJsonSchema;
      break;
    case 'r':
      spec.kind = trireme::GrammarSpec::Kind::kRegex;
      break;
    default:
      spec.kind = trireme::GrammarSpec::Kind::kChoice;
      spec.choices = {std::move(spec.text)};
      spec.text.clear();
  }
  const auto grammar = Compiler().Compile(spec);
  if (!grammar.ok()) {
    TRI_CHECK(absl::IsInvalidArgument(grammar.status())) << grammar.status().ToString();
    return 0;
  }
  trireme::GrammarState state(*grammar);
  std::vector<uint32_t> mask(trireme::GrammarMaskWords(257));
  for (uint32_t step = 0; step < 64 && !state.finished(); ++step) {
    state.Mask(mask);
    int32_t chosen = -1;
    for (uint32_t i = 0; i < 257 && chosen < 0; ++i) {
      const uint32_t token = (i + step * 37 + static_cast<uint32_t>(size)) % 257;
      if ((mask[token / 32] >> (token % 32) & 1U) != 0) chosen = static_cast<int32_t>(token);
    }
    TRI_CHECK(chosen >= 0) << "nothing is allowed at step " << step;
    TRI_CHECK(state.Accept(chosen)) << chosen;
  }
  return 0;
}
