#include "launcher/gateway/completion_call.h"

#include <algorithm>
#include <utility>

#include "launcher/coordinator/limits.h"
#include "launcher/gateway/status_reply.h"
#include "runtime/base/status_macros.h"

namespace trireme {

void CompletionCall::Start(Parts parts, const std::vector<AcceptedRequest>& requests,
                           std::unique_ptr<ReplyWriter> writer) {
  const std::shared_ptr<CompletionCall> call =
      std::unique_ptr<CompletionCall>(new CompletionCall(std::move(parts), std::move(writer)));
  const std::shared_ptr<Exchange> exchange = call->parts_.exchange;
  if (const absl::Status status = call->Accept(requests); !status.ok()) {
    call->Cancel();
    return exchange->Reply(RefusalOf(status));
  }
  const bool stream = call->parts_.form.stream;
  exchange->Produce(
      {.pump = [call] { call->Pump(); },
       .gone = [call] { call->Cancel(); },
       .head = {.content_type = "text/event-stream; charset=utf-8",
                .headers = {{"Cache-Control", "no-cache"}, {"X-Request-Id", call->parts_.id}}},
       // A comment: proxies and clients see that the reply is still being made.
       .idle_text = stream ? ": keep-alive\n\n" : ""});
}

absl::Status CompletionCall::Accept(const std::vector<AcceptedRequest>& requests) {
  int32_t choices = 0;
  for (const AcceptedRequest& accepted : requests) {
    Part& part = prompts_.emplace_back();
    part.first_choice = choices;
    choices += accepted.choices;
    part.builder = std::make_unique<ResponseBuilder>(*parts_.served.tokenizer, accepted);
    part.mailbox = std::make_shared<StreamMailbox>(kMaxUnreadBytes, [weak = weak_from_this()] {
      if (const auto call = weak.lock()) call->parts_.exchange->Wake();
    });
    TRI_ASSIGN_OR_RETURN(part.call, parts_.served.dispatcher->Accept(accepted, part.mailbox));
  }
  return absl::OkStatus();
}

void CompletionCall::Pump() {
  if (ended_) return;
  std::string events;
  for (Part& part : prompts_) {
    if (part.ended) continue;
    if (const absl::Status status = PumpPart(part, events); !status.ok()) {
      if (!events.empty()) parts_.exchange->Write(events);
      return Fail(status);
    }
  }
  const bool whole = std::ranges::all_of(prompts_, &Part::ended);
  if (parts_.form.stream) {
    if (whole) events += writer_->End();
    if (!events.empty()) parts_.exchange->Write(events);
  }
  if (!whole) return;
  ended_ = true;
  if (parts_.form.stream) return parts_.exchange->Finish();
  parts_.exchange->Reply({.headers = {{"X-Request-Id", parts_.id}}, .body = writer_->End()});
}

absl::Status CompletionCall::PumpPart(Part& part, std::string& events) {
  v1::GenerateResponse piece;
  while (true) {
    piece.Clear();
    part.builder->FillChunk(*part.mailbox, piece);
    if (piece.ByteSizeLong() == 0) break;
    writer_->Add(part.first_choice + static_cast<int32_t>(piece.choice()), piece, events);
  }
  if (!part.builder->end().has_value()) return absl::OkStatus();
  part.ended = true;
  return *part.builder->end();
}

void CompletionCall::Fail(const absl::Status& error) {
  Cancel();
  // A client that was told 200 learns it from the stream, which has no other end then.
  if (!parts_.exchange->streaming()) return parts_.exchange->Reply(RefusalOf(error));
  parts_.exchange->Write(ErrorEvent(error));
  parts_.exchange->Finish();
}

void CompletionCall::Cancel() {
  ended_ = true;
  for (const Part& part : prompts_) {
    if (!part.ended && part.call != 0) parts_.served.dispatcher->Cancel(part.call);
  }
}

}  // namespace trireme
