#include "launcher/service/chunk_builder.h"

#include <utility>

namespace trireme {
namespace {

void AddLogprobs(const SampledToken& token, v1::GenerateResponse& chunk) {
  v1::TokenLogprobs* logprobs = chunk.add_logprobs();
  logprobs->mutable_chosen()->set_token(token.token);
  logprobs->mutable_chosen()->set_logprob(token.logprob);
  // The two lists come from a group; were they of unequal length, the excess would mean nothing.
  const size_t count = std::min(token.top_tokens.size(), token.top_logprobs.size());
  for (size_t i = 0; i < count; ++i) {
    v1::TokenLogprob* top = logprobs->add_top();
    top->set_token(token.top_tokens[i]);
    top->set_logprob(token.top_logprobs[i]);
  }
}

}  // namespace

ChunkBuilder::ChunkBuilder(const Tokenizer& tokenizer, Options options)
    : options_(std::move(options)), detokenizer_(tokenizer, /*keep_special=*/false) {}

void ChunkBuilder::Append(const StreamEvent& event, v1::GenerateResponse& chunk) {
  if (event.token.has_value()) {
    if (chunk.tokens_size() == 0) {
      chunk.set_request_id(options_.request_id);
      chunk.set_index(event.index);
    }
    ++completion_tokens_;
    chunk.add_tokens(event.token->token);
    if (options_.logprobs) AddLogprobs(*event.token, chunk);
    // A stop token ends the text and is not part of it.
    if (event.finish != FinishReason::kStop) {
      chunk.mutable_text()->append(detokenizer_.Push(event.token->token));
    }
  }
  if (event.finish == FinishReason::kNone) return;
  if (event.finish == FinishReason::kStop || event.finish == FinishReason::kLength) {
    end_ = absl::OkStatus();
    chunk.mutable_text()->append(detokenizer_.Flush());
    chunk.set_request_id(options_.request_id);
    chunk.set_finish_reason(event.finish == FinishReason::kStop ? v1::FINISH_REASON_STOP
                                                                : v1::FINISH_REASON_LENGTH);
    chunk.mutable_usage()->set_prompt_tokens(static_cast<int32_t>(options_.prompt_tokens));
    chunk.mutable_usage()->set_completion_tokens(completion_tokens_);
    return;
  }
  end_ = event.error.ok() ? absl::CancelledError("the request was cancelled") : event.error;
}

}  // namespace trireme
