// What the engine is asked for, in runtime terms: token ids and numbers; no proto, no client, no
// text.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "runtime/sampling/grammar/grammar_spec.h"
#include "runtime/step/step_plan.h"

namespace trireme {

// Added to a token's logit before it is drawn; -infinity bans the token.
struct TokenBias {
  int32_t token = 0;
  float bias = 0;
};

struct Request {
  uint64_t id = 0;              // unique among the requests the engine holds
  std::vector<int32_t> prompt;  // at least one token, all inside the vocabulary
  int32_t max_tokens = 0;       // >= 1
  int32_t min_tokens = 0;       // no stop before so many tokens are made
  SamplingParams sampling;
  std::vector<TokenBias> logit_bias;  // each token at most once
  uint32_t sequence = 0;              // distinguishes continuations of one seed (n > 1)
  uint32_t first_draw = 0;  // tokens of this completion that the prompt already holds (replay)
  std::vector<int32_t> stop_tokens;  // end the sequence; the stop token itself is reported
  // End the sequence with the token that completes one of them in the completion's text; looked for
  // in the text of the tokens after the first min_tokens.
  std::vector<std::string> stop_strings;
  GrammarSpec grammar;  // what the completion's text must be
  int32_t num_logprobs =
      -1;  // most likely tokens to report with each token; -1: no log-probabilities
  // Report the log-probability of every prompt token after the first, given those before it.
  bool prompt_logprobs = false;
  // Report all logits of each sampled row (tests and tools only).
  bool want_logits = false;
  int32_t priority = 0;     // lower goes first, as far as ageing allows
  std::string tenant;       // whose fair share the request is taken from
  int64_t deadline_ms = 0;  // on the engine's clock, when an answer is of no use any more; 0: none
};

enum class FinishReason : uint8_t { kNone, kStop, kLength, kCancelled, kError };

// How a request began, with its first token.
struct Beginning {
  int64_t queued_ms = 0;      // from its arrival to its first step, on the engine's clock
  int64_t prefill_ms = 0;     // from there to its first token
  int64_t cached_tokens = 0;  // of its prompt, found in the prefix cache
};

// One token of a request, or (finish != kNone) its end; the last token and the end come in one
// event.
struct TokenEvent {
  uint64_t request = 0;
  uint32_t index = 0;      // of the token in the completion, from 0
  bool has_token = false;  // false for an end that carries no token (cancelled, failed)
  bool is_prompt = false;  // a prompt token's log-probability; index then counts prompt tokens
  SampledToken token;
  std::optional<Beginning> beginning;  // of the first token that is drawn
  FinishReason finish = FinishReason::kNone;
  absl::Status error;  // why, when finish is kError
};

}  // namespace trireme
