#include "launcher/service/kserve/infer_call.h"

#include <algorithm>
#include <utility>

#include "launcher/coordinator/limits.h"
#include "launcher/service/kserve/infer_response.h"
#include "launcher/service/kserve/model_tensors.h"
#include "runtime/base/status_macros.h"

namespace trireme {
void InferTally::Add(bool success, std::chrono::nanoseconds took) {
  const auto ns = static_cast<uint64_t>(took.count());
  ++(success ? successes_ : failures_);
  (success ? success_ns_ : failure_ns_) += ns;
  last_ms_ = static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(
                                       std::chrono::system_clock::now().time_since_epoch())
                                       .count());
}

inference::ModelStatistics InferTally::Report(const std::string& model) const {
  inference::ModelStatistics statistics;
  statistics.set_name(model);
  statistics.set_version(kModelVersion);
  statistics.set_last_inference(last_ms_);
  statistics.set_inference_count(successes_);
  statistics.set_execution_count(successes_);
  statistics.mutable_inference_stats()->mutable_success()->set_count(successes_);
  statistics.mutable_inference_stats()->mutable_success()->set_ns(success_ns_);
  statistics.mutable_inference_stats()->mutable_fail()->set_count(failures_);
  statistics.mutable_inference_stats()->mutable_fail()->set_ns(failure_ns_);
  return statistics;
}

void InferCall::Start(const grpc::CallbackServerContext& rpc,
                      const inference::ModelInferRequest& request, std::function<void()> wake) {
  request_.form.model = request.model_name();
  request_.form.id = request.id();
  auto accepted = Admit(rpc, request);
  if (!accepted.ok()) {
    parts_.dispatcher->OnRefused(accepted.status());
    refusal_ = accepted.status();
    wake();
  } else if (absl::Status status = Begin(*accepted, wake); !status.ok()) {
    // Of a call that was accepted Next may run already: it must not be touched.
    refusal_ = std::move(status);
    wake();
  }
}

absl::StatusOr<AcceptedRequest> InferCall::Admit(const grpc::CallbackServerContext& rpc,
                                                 const inference::ModelInferRequest& request) {
  TRI_ASSIGN_OR_RETURN(request_, ReadInferRequest(request));
  if (kind_ == Kind::kUnary && request_.stream) {
    return absl::UnimplementedError(
        "stream: expected false of ModelInfer, which has one response; use ModelStreamInfer");
  }
  // The client's id need not be unique, so it is not the request's.
  TRI_ASSIGN_OR_RETURN(AcceptedRequest accepted, parts_.inference->Admit(rpc, request_.generate));
  if (request_.timeout.has_value()) {
    accepted.timeout = std::min(*request_.timeout, accepted.timeout.value_or(*request_.timeout));
  }
  return accepted;
}

absl::Status InferCall::Begin(const AcceptedRequest& accepted, std::function<void()> wake) {
  if (request_.form.model.empty()) request_.form.model = parts_.dispatcher->served().name;
  choices_ = accepted.choices;
  input_tokens_ = static_cast<int64_t>(accepted.request.prompt.size());
  builder_ = std::make_unique<ResponseBuilder>(*parts_.tokenizer, accepted);
  mailbox_ = std::make_shared<StreamMailbox>(kMaxUnreadBytes, std::move(wake));
  TRI_ASSIGN_OR_RETURN(call_, parts_.dispatcher->Accept(accepted, mailbox_));
  return absl::OkStatus();
}

InferCall::Reply InferCall::Finished(const absl::Status& error) {
  ended_ = true;
  parts_.tally->Add(error.ok(), std::chrono::steady_clock::now() - started_);
  Reply reply{.response = {}, .error = error, .last = true};
  if (!error.ok()) {
    reply.response.set_model_name(request_.form.model);
    reply.response.set_model_version(kModelVersion);
    reply.response.set_id(request_.form.id);
  }
  return reply;
}

std::optional<InferCall::Reply> InferCall::Next() {
  if (ended_) return std::nullopt;
  if (!refusal_.ok()) return Finished(refusal_);
  if (builder_ == nullptr) return std::nullopt;
  v1::GenerateResponse chunk;
  if (request_.stream) {
    builder_->FillChunk(*mailbox_, chunk);
  } else {
    builder_->FillWhole(*mailbox_, whole_);
  }
  const std::optional<absl::Status>& end = builder_->end();
  if (end.has_value() && !end->ok()) return Finished(*end);
  if (!end.has_value() && (!request_.stream || chunk.ByteSizeLong() == 0)) return std::nullopt;
  Reply reply = end.has_value() ? Finished(absl::OkStatus()) : Reply();
  reply.response =
      MakeInferResponse(request_.form, request_.stream ? chunk : whole_, choices_, input_tokens_);
  return reply;
}

}  // namespace trireme
