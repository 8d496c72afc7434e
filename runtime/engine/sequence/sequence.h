// One continuation of a request as the scheduler sees it: its tokens so far, how far they have been
// computed, and what decides where it ends. A pure function of the request and the tokens drawn, so
// that replay after a crash and recomputation after a preemption go on alike.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "runtime/engine/pages/kv_accounts.h"
#include "runtime/engine/request.h"
#include "runtime/engine/sequence/prompt_lookup.h"
#include "runtime/engine/sequence/token_history.h"
#include "runtime/sampling/grammar/grammar_state.h"
#include "runtime/text/detokenizer.h"
#include "runtime/text/stop_strings.h"

namespace trireme {

class Sequence {
 public:
  // `tokenizer` may be null where the request has no stop strings, and must outlive this.
  // `grammar`: compiled of the request's; null where it has none.
  Sequence(Request request, const Tokenizer* tokenizer,
           std::shared_ptr<const CompiledGrammar> grammar);

  const Request& request() const { return request_; }
  const std::vector<int32_t>& tokens() const { return tokens_; }  // prompt, then what was drawn
  int64_t size() const { return static_cast<int64_t>(tokens_.size()); }
  int64_t prompt_size() const { return static_cast<int64_t>(request_.prompt.size()); }
  int64_t generated() const { return size() - prompt_size(); }
  // Tokens of the completion, those that the prompt holds (replay) included.
  int64_t made() const { return request_.first_draw + generated(); }
  // Positions that the longest possible completion computes: the last token drawn is never run.
  int64_t longest() const { return prompt_size() + request_.max_tokens - 1; }

  // The token is drawn; whether it ends the sequence.
  FinishReason TakeToken(int32_t token);

  bool stops_are_banned(int64_t made) const { return made < request_.min_tokens; }
  // Null where no penalty is on.
  const TokenHistory* history() const { return history_ ? &*history_ : nullptr; }
  // Null where everything is allowed.
  GrammarState* grammar() { return grammar_ ? &*grammar_ : nullptr; }
  size_t mask_words() const { return mask_words_; }  // of its masks
  // Guesses at the next tokens; none under a grammar, whose masks are made token by token.
  std::vector<int32_t> Draft(int64_t count) {
    return grammar_ ? std::vector<int32_t>() : lookup_.Draft(tokens_, count);
  }

  // Rows still to run before the next token can be drawn.
  int64_t pending() const { return size() - computed; }
  // Reads a text (prompt, or tokens lost to a preemption) rather than one token at a time.
  bool reading() const { return pending() > 1; }
  // Rows whose keys and values it may take from others: the last one gives the next token, and
  // those that are to be scored must be computed.
  int64_t shareable() const;

  // Kept by the scheduler:
  SequencePages pages;
  int64_t computed = 0;  // tokens whose keys and values are in pages, or will be by plans in flight
  int64_t scored = 0;    // prompt tokens whose log-probability has been reported
  std::vector<int32_t> drafts;  // guesses that the plan in flight checks
  int64_t confirmed = 0;        // of them
  uint64_t turn = 0;     // order of first admission: lower ones are served first; 0: waits for it
  uint32_t life = 0;     // rises with each preemption: results for earlier ones are void
  bool stalled = false;  // found no page when last tried
  int64_t cached = 0;    // tokens of its prompt that were found in pages
  int64_t arrived_ms = 0;
  int64_t begun_ms = 0;  // when it was first admitted

 private:
  Request request_;
  std::vector<int32_t> tokens_;
  std::optional<TokenHistory> history_;
  PromptLookup lookup_;
  std::optional<Detokenizer> text_;
  std::optional<StopStrings> stops_;
  std::optional<GrammarState> grammar_;
  size_t mask_words_ = 0;
};

}  // namespace trireme
