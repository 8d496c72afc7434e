// Where a sequence stands in its grammar: which tokens may come next.
//
// A GrammarState is a pure function of (specification, vocabulary, accepted tokens). So a sequence
// that is replayed after a crash or recomputed after a preemption rebuilds it by accepting its
// tokens again, and gets the same masks, bit for bit.
//
// Special tokens are never allowed, except the vocabulary's stop tokens: those are allowed exactly
// where the text may end, and alone where nothing else may follow. Some token is always allowed.
//
// The work is done by the xgrammar library (an Earley parser over bytes, with token masks of most
// states computed when the grammar is compiled); grammar_engine.cc is the only file that calls it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace trireme {

// The tokens that grammars are compiled against.
struct GrammarVocabulary {
  // By token id: the bytes a token adds to the text, "" for one that is never text (special
  // tokens).
  std::vector<std::string> token_bytes;
  std::vector<int32_t> stop_tokens;  // ids that end the text; at least one
  // The number of logits: at least token_bytes.size(). Ids beyond it are never allowed.
  int32_t vocab_size = 0;
};

// Words of a mask over `vocab_size` tokens.
constexpr size_t GrammarMaskWords(int32_t vocab_size) {
  return (static_cast<size_t>(vocab_size) + 31) / 32;
}

// A grammar with its token masks, ready to be followed by any number of sequences on any threads.
// Immutable; made by GrammarCompiler.
class CompiledGrammar {
 public:
  struct Impl;
  CompiledGrammar(std::unique_ptr<const Impl> impl, size_t memory_bytes);
  CompiledGrammar(const CompiledGrammar&) = delete;
  CompiledGrammar& operator=(const CompiledGrammar&) = delete;
  ~CompiledGrammar();

  size_t memory_bytes() const { return memory_bytes_; }
  int32_t vocab_size() const;

 private:
  friend class GrammarEngine;
  friend class GrammarState;
  const std::unique_ptr<const Impl> impl_;
  const size_t memory_bytes_;
};

// Used by one thread at a time; different states of one grammar may be used at once.
class GrammarState {
 public:
  explicit GrammarState(std::shared_ptr<const CompiledGrammar> grammar);
  GrammarState(GrammarState&&) noexcept;
  GrammarState& operator=(GrammarState&&) noexcept;
  ~GrammarState();

  // Moves on by one token. False, and nothing has changed, when the grammar does not allow it here
  // (or has finished).
  [[nodiscard]] bool Accept(int32_t token);

  // Sets bit (t % 32) of bits[t / 32] for each token t that Accept would take, and clears all
  // others. bits: [GrammarMaskWords(vocab_size)]. After finished() only stop tokens are set, so
  // that whoever samples one token too many still can.
  void Mask(std::span<uint32_t> bits);

  // A stop token has been accepted.
  bool finished() const;
  // The text so far is whole: a stop token would be accepted.
  bool may_stop() const;
  // Tokens accepted and not rolled back.
  int64_t accepted() const { return accepted_; }

  // Takes back the last `tokens` accepted ones (0 <= tokens <= accepted()): for speculative
  // tokens that were not confirmed.
  void Rollback(int64_t tokens);

  // An independent state at the same place.
  GrammarState Clone() const;

 private:
  struct Impl;
  GrammarState(std::shared_ptr<const CompiledGrammar> grammar, std::unique_ptr<Impl> impl,
               int64_t accepted);

  std::shared_ptr<const CompiledGrammar> grammar_;
  std::unique_ptr<Impl> impl_;
  int64_t accepted_ = 0;
};

}  // namespace trireme
