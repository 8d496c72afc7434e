// The xgrammar library behind an interface of ours: grammars in EBNF become CompiledGrammars of one
// vocabulary. Its exceptions end in grammar_engine.cc, which also holds what follows a compiled
// grammar (GrammarState); no other file sees its types.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "runtime/sampling/grammar/grammar_state.h"

namespace trireme {

// Thread-safe.
class GrammarEngine {
 public:
  // INVALID_ARGUMENT when the vocabulary is empty, has no stop token, or names ids outside it.
  // threads: of one compile.
  static absl::StatusOr<std::unique_ptr<GrammarEngine>> Create(GrammarVocabulary vocabulary,
                                                               int threads);
  GrammarEngine(const GrammarEngine&) = delete;
  GrammarEngine& operator=(const GrammarEngine&) = delete;
  ~GrammarEngine();

  // ebnf: rules `name ::= expression`, one a line; "root" is where a text begins. The caller has
  // bounded what it unrolls to (kMaxGrammarCost). INTERNAL where the library refuses it.
  absl::StatusOr<std::unique_ptr<const CompiledGrammar>> Compile(const std::string& ebnf) const;

 private:
  struct Impl;
  explicit GrammarEngine(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace trireme
