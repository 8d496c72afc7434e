#include "launcher/request/token_update.h"

#include <array>
#include <string>
#include <utility>

namespace trireme {
namespace {

constexpr std::array<std::pair<FinishReason, v1::UpdateEnd>, 5> kEnds = {{
    {FinishReason::kNone, v1::UPDATE_END_NONE},
    {FinishReason::kStop, v1::UPDATE_END_STOP},
    {FinishReason::kLength, v1::UPDATE_END_LENGTH},
    {FinishReason::kCancelled, v1::UPDATE_END_CANCELLED},
    {FinishReason::kError, v1::UPDATE_END_ERROR},
}};

}  // namespace

v1::TokenUpdate ToUpdate(uint64_t request, const TokenEvent& event) {
  v1::TokenUpdate update;
  update.set_request(request);
  update.set_index(event.index);
  update.set_of_prompt(event.is_prompt);
  if (event.has_token) {
    update.set_token(event.token.token);
    update.set_logprob(event.token.logprob);
    update.mutable_top_tokens()->Add(event.token.top_tokens.begin(), event.token.top_tokens.end());
    update.mutable_top_logprobs()->Add(event.token.top_logprobs.begin(),
                                       event.token.top_logprobs.end());
  }
  if (event.beginning.has_value()) {
    update.mutable_beginning()->set_queued_ms(event.beginning->queued_ms);
    update.mutable_beginning()->set_prefill_ms(event.beginning->prefill_ms);
    update.mutable_beginning()->set_cached_tokens(event.beginning->cached_tokens);
  }
  for (const auto& [finish, end] : kEnds) {
    if (finish == event.finish) update.set_end(end);
  }
  if (event.finish == FinishReason::kError) SetError(event.error, update);
  return update;
}

void SetError(const absl::Status& error, v1::TokenUpdate& update) {
  const absl::StatusCode code =
      absl::IsCancelled(error) ? absl::StatusCode::kUnavailable : error.code();
  update.set_end(v1::UPDATE_END_ERROR);
  update.set_error_code(static_cast<int>(code));
  update.set_error_message(std::string(error.message()));
}

SampledToken TokenOf(const v1::TokenUpdate& update) {
  SampledToken token;
  token.token = update.token();
  token.logprob = update.logprob();
  token.top_tokens.assign(update.top_tokens().begin(), update.top_tokens().end());
  token.top_logprobs.assign(update.top_logprobs().begin(), update.top_logprobs().end());
  return token;
}

FinishReason FinishOf(const v1::TokenUpdate& update) {
  for (const auto& [finish, end] : kEnds) {
    if (end == update.end()) return finish;
  }
  return FinishReason::kNone;
}

absl::Status ErrorOf(const v1::TokenUpdate& update) {
  const bool known = update.error_code() > 0 && update.error_code() <= 16;
  return absl::Status(
      known ? static_cast<absl::StatusCode>(update.error_code()) : absl::StatusCode::kInternal,
      update.error_message());
}

}  // namespace trireme
