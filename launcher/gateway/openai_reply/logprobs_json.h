// Log-probabilities in the two forms that OpenAI's clients read: a list of objects (chat), and four
// lists side by side (completions).
#pragma once

#include <cstdint>
#include <string>

#include "launcher/gateway/openai_request/json_fields.h"
#include "runtime/text/tokenizer.h"
#include "trireme/v1/inference.pb.h"

namespace trireme {

// The value that has the float's shortest text: 0.1f prints as 0.1. Minus infinity, which JSON
// cannot say, is OpenAI's -9999.
double ShortNumber(float value);

// What a token stands for, as text; where it is a part of a character, U+FFFD.
std::string TextOf(const Tokenizer& tokenizer, int32_t token);

// {"token", "logprob", "bytes", "top_logprobs"} of one token.
Json ChatLogprob(const Tokenizer& tokenizer, const v1::TokenLogprobs& logprobs);

// "tokens", "token_logprobs", "top_logprobs" and "text_offset" of a text.
class LegacyLogprobs {
 public:
  // `offset`: where in the text the first token begins, in code points.
  explicit LegacyLogprobs(size_t offset = 0) : offset_(offset) {}

  // A prompt's first token: there is nothing before it that could score it.
  void AddFirst(const Tokenizer& tokenizer, int32_t token);
  void Add(const Tokenizer& tokenizer, const v1::TokenLogprobs& logprobs);
  void Append(const LegacyLogprobs& more);
  // What was added since the last time; offsets go on.
  Json Take();
  bool empty() const { return tokens_.empty(); }

 private:
  void AddText(std::string text);

  size_t offset_;
  Json tokens_ = Json::array();
  Json token_logprobs_ = Json::array();
  Json top_logprobs_ = Json::array();
  Json offsets_ = Json::array();
};

}  // namespace trireme
