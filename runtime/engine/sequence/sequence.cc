#include "runtime/engine/sequence/sequence.h"

#include <algorithm>

#include "runtime/base/check.h"

namespace trireme {
namespace {

bool Penalizes(const SamplingParams& params) {
  return params.repetition_penalty != 1 || params.frequency_penalty != 0 ||
         params.presence_penalty != 0;
}

}  // namespace

Sequence::Sequence(Request request, const Tokenizer* tokenizer,
                   std::shared_ptr<const CompiledGrammar> grammar)
    : request_(std::move(request)), tokens_(request_.prompt) {
  if (Penalizes(request_.sampling)) history_.emplace();
  if (!request_.stop_strings.empty()) {
    TRI_CHECK(tokenizer != nullptr);
    text_.emplace(*tokenizer, /*keep_special=*/false);
    stops_.emplace(request_.stop_strings);
  }
  if (grammar != nullptr) {
    mask_words_ = GrammarMaskWords(grammar->vocab_size());
    grammar_.emplace(std::move(grammar));
  }
  const auto prompt_alone = static_cast<size_t>(prompt_size() - request_.first_draw);
  for (size_t i = 0; history_ && i < tokens_.size(); ++i) {
    i < prompt_alone ? history_->AddPrompt(tokens_[i]) : history_->AddCompletion(tokens_[i]);
  }
  for (size_t i = prompt_alone; text_ && i < tokens_.size(); ++i) {
    const std::string piece = text_->Push(tokens_[i]);
    if (!stops_are_banned(static_cast<int64_t>(i - prompt_alone))) stops_->Push(piece);
  }
  // Tokens of another grammar's completion would change nothing.
  for (size_t i = prompt_alone; grammar_ && i < tokens_.size(); ++i) {
    if (!grammar_->Accept(tokens_[i])) break;
  }
}

FinishReason Sequence::TakeToken(int32_t token) {
  const bool may_stop = !stops_are_banned(made());
  tokens_.push_back(token);
  if (history_) history_->AddCompletion(token);
  if (text_) {
    const std::string piece = text_->Push(token);
    if (may_stop) stops_->Push(piece);
    if (stops_->matched()) return FinishReason::kStop;
  }
  if (grammar_ && grammar_->Accept(token) && grammar_->finished()) return FinishReason::kStop;
  if (may_stop && std::find(request_.stop_tokens.begin(), request_.stop_tokens.end(), token) !=
                      request_.stop_tokens.end()) {
    return FinishReason::kStop;
  }
  return generated() >= request_.max_tokens ? FinishReason::kLength : FinishReason::kNone;
}

int64_t Sequence::shareable() const {
  if (request_.prompt_logprobs && scored + 1 < prompt_size()) return std::min(scored, size() - 1);
  return size() - 1;
}

}  // namespace trireme
