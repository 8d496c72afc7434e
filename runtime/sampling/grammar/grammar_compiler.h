// From a GrammarSpec to a CompiledGrammar, once for each specification: compiled grammars are kept,
// least recently used out first, up to a number of bytes.
//
// What a specification may say is written down where it is read: schema_grammar.h for JSON Schemas
// (the keywords that are enforced; any other that would matter is refused by name), regex_grammar.h
// for regular expressions. Sizes are limited so that no request can make a compile run long: see
// kMaxSpecBytes and the limits in those headers.
//
// Compiling takes milliseconds to a second; it belongs to the thread that takes requests in, not
// to the one that plans steps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "runtime/sampling/grammar/grammar_spec.h"
#include "runtime/sampling/grammar/grammar_state.h"

namespace trireme {

// All text of a specification together.
constexpr size_t kMaxSpecBytes = size_t{64} << 10;
constexpr size_t kMaxChoices = 1024;

struct GrammarCompilerOptions {
  // Compiled grammars kept; 0 keeps none. One that alone exceeds it is compiled but not kept.
  size_t cache_bytes = size_t{256} << 20;
  // Threads of one compile.
  int threads = 1;
};

// Thread-safe. Two threads that want the same specification at once compile it once.
class GrammarCompiler {
 public:
  // INVALID_ARGUMENT when the vocabulary is empty, has no stop token, or names ids outside it.
  static absl::StatusOr<std::unique_ptr<GrammarCompiler>> Create(
      GrammarVocabulary vocabulary, const GrammarCompilerOptions& options);
  GrammarCompiler(const GrammarCompiler&) = delete;
  GrammarCompiler& operator=(const GrammarCompiler&) = delete;
  ~GrammarCompiler();

  // INVALID_ARGUMENT, naming what is wrong and where, when the specification is malformed, says
  // something that cannot be enforced, can never be met, or exceeds a limit.
  absl::StatusOr<std::shared_ptr<const CompiledGrammar>> Compile(const GrammarSpec& spec);

  // Bytes of the compiled grammars kept now.
  size_t cached_bytes() const;

 private:
  struct Impl;
  explicit GrammarCompiler(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace trireme
