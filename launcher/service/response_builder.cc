#include "launcher/service/response_builder.h"

#include <algorithm>
#include <utility>

namespace trireme {
namespace {

// At 20 alternatives each, a few hundred KB: well within what a client takes in one message.
constexpr int kMaxPromptLogprobs = 512;

void SetLogprobs(const SampledToken& token, v1::TokenLogprobs& logprobs) {
  logprobs.mutable_chosen()->set_token(token.token);
  logprobs.mutable_chosen()->set_logprob(token.logprob);
  // The two lists come from a group; were they of unequal length, the excess would mean nothing.
  const size_t count = std::min(token.top_tokens.size(), token.top_logprobs.size());
  for (size_t i = 0; i < count; ++i) {
    v1::TokenLogprob* top = logprobs.add_top();
    top->set_token(token.top_tokens[i]);
    top->set_logprob(token.top_logprobs[i]);
  }
}

}  // namespace

ResponseBuilder::ResponseBuilder(const Tokenizer& tokenizer, const AcceptedRequest& accepted)
    : request_id_(accepted.id),
      echo_(accepted.echo),
      prompt_tokens_(accepted.request.prompt.size()),
      logprobs_(accepted.request.num_logprobs >= 0) {
  for (int32_t choice = 0; choice < accepted.choices; ++choice) {
    choices_.push_back(
        {.text = CompletionText(tokenizer, accepted.request, /*keep_special=*/false)});
  }
}

void ResponseBuilder::FillChunk(StreamMailbox& mailbox, v1::GenerateResponse& chunk) {
  std::optional<int32_t> choice;
  while (!end_.has_value() && chunk.prompt_logprobs_size() < kMaxPromptLogprobs) {
    std::optional<StreamEvent> event = Take(mailbox);
    if (!event.has_value()) return;
    if (choice.has_value() && event->choice != *choice) {
      held_ = std::move(event);
      return;
    }
    choice = event->choice;
    Append(*event, chunk);
    if (end_.has_value() && end_->ok()) AppendUsage(chunk);
  }
}

void ResponseBuilder::FillWhole(StreamMailbox& mailbox, v1::GenerateResponse& response) {
  const auto choices = static_cast<int>(choices_.size());
  while (choices > 1 && response.choices_size() < choices) response.add_choices();
  while (!end_.has_value()) {
    const std::optional<StreamEvent> event = Take(mailbox);
    if (!event.has_value()) return;
    Append(*event, choices > 1 ? *response.mutable_choices(event->choice) : response);
  }
  response.set_request_id(request_id_);
  AppendUsage(response);
}

std::optional<StreamEvent> ResponseBuilder::Take(StreamMailbox& mailbox) {
  if (held_.has_value()) return std::exchange(held_, std::nullopt);
  return mailbox.Take();
}

void ResponseBuilder::Append(const StreamEvent& event, v1::GenerateResponse& message) {
  if (event.token.has_value()) AppendToken(event, message);
  if (event.finish == FinishReason::kNone) return;
  if (event.finish != FinishReason::kStop && event.finish != FinishReason::kLength) {
    end_ = event.error.ok() ? absl::CancelledError("the request was cancelled") : event.error;
    return;
  }
  message.set_request_id(request_id_);
  message.set_choice(static_cast<uint32_t>(event.choice));
  message.mutable_text()->append(choices_[static_cast<size_t>(event.choice)].text.Flush());
  message.set_finish_reason(event.finish == FinishReason::kStop ? v1::FINISH_REASON_STOP
                                                                : v1::FINISH_REASON_LENGTH);
  if (++ended_ == choices_.size()) end_ = absl::OkStatus();
}

void ResponseBuilder::AppendToken(const StreamEvent& event, v1::GenerateResponse& message) {
  message.set_request_id(request_id_);
  message.set_choice(static_cast<uint32_t>(event.choice));
  if (event.of_prompt) {
    SetLogprobs(*event.token, *message.add_prompt_logprobs());
    return;
  }
  Choice& choice = choices_[static_cast<size_t>(event.choice)];
  if (!std::exchange(choice.begun, true)) message.mutable_text()->append(echo_);
  if (message.tokens_size() == 0) message.set_index(event.index);
  ++completion_tokens_;
  if (event.choice == 0) cached_tokens_ = std::max(cached_tokens_, event.cached_tokens);
  message.add_tokens(event.token->token);
  if (logprobs_) SetLogprobs(*event.token, *message.add_logprobs());
  message.mutable_text()->append(choice.text.Push(event.token->token));
}

void ResponseBuilder::AppendUsage(v1::GenerateResponse& message) const {
  message.mutable_usage()->set_prompt_tokens(static_cast<int32_t>(prompt_tokens_));
  message.mutable_usage()->set_completion_tokens(completion_tokens_);
  message.mutable_usage()->set_cached_tokens(static_cast<int32_t>(cached_tokens_));
}

}  // namespace trireme
