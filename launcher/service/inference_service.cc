#include "launcher/service/inference_service.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_format.h"
#include "launcher/coordinator/limits.h"
#include "launcher/service/grpc_status.h"
#include "launcher/service/model_report.h"
#include "launcher/service/response_builder.h"
#include "runtime/base/mutex.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

// A stream or call in flight: takes events from its mailbox and writes what they make. It is kept
// alive by itself from Start until gRPC's OnDone; the dispatcher's mailbox knows it weakly.
//
// gRPC allows one write at a time and one Finish: busy_ is true while a write is under way,
// finished_ once Finish was called. Whoever sets busy_ (or finished_) makes the call, after
// releasing the lock.
class StreamReactor final : public grpc::ServerWriteReactor<v1::GenerateResponse>,
                            public std::enable_shared_from_this<StreamReactor> {
 public:
  StreamReactor(Dispatcher& dispatcher, SlowReaders& slow_readers,
                grpc::CallbackServerContext& context)
      : dispatcher_(dispatcher), slow_readers_(slow_readers), context_(context) {}

  // The reactor to hand to gRPC; it may already be writing.
  StreamReactor* Start(const Tokenizer& tokenizer, absl::StatusOr<AcceptedRequest> accepted) {
    self_ = shared_from_this();
    if (!accepted.ok()) {
      dispatcher_.OnRefused(accepted.status());
      FinishWith(accepted.status());
      return this;
    }
    builder_ = std::make_unique<ResponseBuilder>(tokenizer, *accepted);
    write_ = slow_readers_.Watch([weak = weak_from_this()] {
      if (const auto reactor = weak.lock()) reactor->context_.TryCancel();
    });
    mailbox_ = std::make_shared<StreamMailbox>(kMaxUnreadBytes, [weak = weak_from_this()] {
      if (const auto reactor = weak.lock()) reactor->Pump();
    });
    const absl::StatusOr<uint64_t> call = dispatcher_.Accept(*accepted, mailbox_);
    if (!call.ok()) {
      FinishWith(call.status());
      return this;
    }
    call_ = *call;
    return this;
  }

  void OnWriteDone(bool ok) override {
    write_->End();
    {
      MutexLock lock(mutex_);
      busy_ = false;
      gone_ = gone_ || !ok;
    }
    Pump();
  }

  void OnCancel() override {
    dispatcher_.Cancel(call_);
    {
      MutexLock lock(mutex_);
      gone_ = true;
    }
    Pump();
  }

  void OnDone() override {
    // The last reference: nothing may touch members after.
    const std::shared_ptr<StreamReactor> last = std::move(self_);
    dispatcher_.Cancel(call_);
  }

 private:
  void FinishWith(const absl::Status& status) {
    {
      MutexLock lock(mutex_);
      if (finished_) return;
      finished_ = true;
    }
    AddRefusal(status, context_);
    Finish(ToGrpc(status));
  }

  // Writes what is waiting, if no write is under way.
  void Pump() {
    bool gone = false;
    {
      MutexLock lock(mutex_);
      if (busy_ || finished_) return;
      if (gone_) {
        finished_ = gone = true;
      } else {
        chunk_.Clear();
        builder_->FillChunk(*mailbox_, chunk_);
        if (chunk_.ByteSizeLong() == 0 && !builder_->end().has_value()) return;
        busy_ = true;
      }
    }
    if (gone) {
      Finish(grpc::Status(grpc::StatusCode::CANCELLED, "the client is gone"));
      return;
    }
    if (chunk_.ByteSizeLong() > 0) {
      Write();
    } else {
      End();
    }
  }

  // By whoever set busy_: chunk_ is this thread's until OnWriteDone.
  void Write() {
    const bool last = builder_->end().has_value() && builder_->end()->ok();
    write_->Begin(MonotonicNs());
    if (!last) {
      StartWrite(&chunk_);
      return;
    }
    {
      MutexLock lock(mutex_);
      finished_ = true;
    }
    StartWriteAndFinish(&chunk_, grpc::WriteOptions(), grpc::Status::OK);
  }

  void End() { FinishWith(*builder_->end()); }

  Dispatcher& dispatcher_;
  SlowReaders& slow_readers_;
  grpc::CallbackServerContext& context_;  // gRPC's, until OnDone
  std::shared_ptr<SlowReaders::Write> write_;
  std::shared_ptr<StreamReactor> self_;
  std::shared_ptr<StreamMailbox> mailbox_;
  std::unique_ptr<ResponseBuilder> builder_;  // by whoever is about to set busy_, under the lock
  std::atomic<uint64_t> call_ = 0;            // 0: never accepted
  v1::GenerateResponse chunk_;
  Mutex mutex_;
  bool busy_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  bool gone_ ABSL_GUARDED_BY(mutex_) = false;
};

// The same for GenerateUnary: everything is appended to the one response.
class UnaryReactor final : public grpc::ServerUnaryReactor,
                           public std::enable_shared_from_this<UnaryReactor> {
 public:
  UnaryReactor(Dispatcher& dispatcher, grpc::CallbackServerContext& context,
               v1::GenerateResponse& response)
      : dispatcher_(dispatcher), context_(context), response_(response) {}

  UnaryReactor* Start(const Tokenizer& tokenizer, absl::StatusOr<AcceptedRequest> accepted) {
    self_ = shared_from_this();
    if (!accepted.ok()) {
      dispatcher_.OnRefused(accepted.status());
      FinishWith(accepted.status());
      return this;
    }
    builder_ = std::make_unique<ResponseBuilder>(tokenizer, *accepted);
    mailbox_ = std::make_shared<StreamMailbox>(kMaxUnreadBytes, [weak = weak_from_this()] {
      if (const auto reactor = weak.lock()) reactor->Pump();
    });
    const absl::StatusOr<uint64_t> call = dispatcher_.Accept(*accepted, mailbox_);
    if (!call.ok()) {
      FinishWith(call.status());
      return this;
    }
    call_ = *call;
    return this;
  }

  void OnCancel() override {
    dispatcher_.Cancel(call_);
    FinishWith(absl::CancelledError("the client is gone"));
  }
  void OnDone() override {
    const std::shared_ptr<UnaryReactor> last = std::move(self_);
    dispatcher_.Cancel(call_);
  }

 private:
  void Pump() {
    std::optional<absl::Status> end;
    {
      MutexLock lock(mutex_);
      if (finished_) return;
      builder_->FillWhole(*mailbox_, response_);
      end = builder_->end();
    }
    if (end.has_value()) FinishWith(*end);
  }

  void FinishWith(const absl::Status& status) {
    {
      MutexLock lock(mutex_);
      if (finished_) return;
      finished_ = true;
    }
    AddRefusal(status, context_);
    Finish(ToGrpc(status));
  }

  Dispatcher& dispatcher_;
  grpc::CallbackServerContext& context_;  // gRPC's, until OnDone
  v1::GenerateResponse& response_;        // gRPC's, until Finish
  std::shared_ptr<UnaryReactor> self_;
  std::shared_ptr<StreamMailbox> mailbox_;
  std::unique_ptr<ResponseBuilder> builder_;
  std::atomic<uint64_t> call_ = 0;
  Mutex mutex_;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
};

grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext& context, const absl::Status& status) {
  grpc::ServerUnaryReactor* reactor = context.DefaultReactor();
  reactor->Finish(ToGrpc(status));
  return reactor;
}

// What the client gives the call from now on; nothing: as long as it takes.
std::optional<std::chrono::milliseconds> TimeLeft(const grpc::CallbackServerContext& context) {
  const auto deadline = context.deadline();
  if (deadline == std::chrono::system_clock::time_point::max()) return std::nullopt;
  return std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::system_clock::now());
}

constexpr char kRequestIdKey[] = "x-request-id";

// A request that has no id takes the one that stands among the call's metadata, as proxies put it
// there; either way the client is told which it has.
template <typename RequestProto>
absl::StatusOr<AcceptedRequest> Named(grpc::CallbackServerContext& context,
                                      const RequestProto& request,
                                      absl::StatusOr<AcceptedRequest> accepted) {
  if (!accepted.ok()) return accepted;
  const auto given = context.client_metadata().find(kRequestIdKey);
  if (request.request_id().empty() && given != context.client_metadata().end() &&
      !given->second.empty()) {
    if (given->second.size() > kMaxRequestIdBytes) {
      return absl::InvalidArgumentError(absl::StrFormat("%s: expected at most %d bytes; got %d",
                                                        kRequestIdKey, kMaxRequestIdBytes,
                                                        given->second.size()));
    }
    accepted->id.assign(given->second.data(), given->second.size());
  }
  // An id that metadata cannot carry is not sent back; responses hold it anyway.
  if (std::ranges::all_of(accepted->id, [](char c) { return c >= ' ' && c <= '~'; })) {
    context.AddInitialMetadata(kRequestIdKey, accepted->id);
  }
  return accepted;
}

}  // namespace

AdmissionDefaults InferenceService::NextDefaults() {
  return {.seed = DrawSeed(), .id = absl::StrFormat("r-%d", ++requests_)};
}

absl::StatusOr<AcceptedRequest> InferenceService::Admit(const grpc::CallbackServerContext& context,
                                                        const v1::GenerateRequest& request) {
  TRI_ASSIGN_OR_RETURN(AcceptedRequest accepted, AdmitGenerate(request, parts_.dispatcher->served(),
                                                               parts_.tokenizer, NextDefaults()));
  accepted.timeout = TimeLeft(context);
  TRI_RETURN_IF_ERROR(parts_.door->Admit(context, accepted));
  return accepted;
}

absl::StatusOr<AcceptedRequest> InferenceService::Admit(const grpc::CallbackServerContext& context,
                                                        const v1::ChatRequest& request) {
  if (parts_.chat_format == nullptr) return parts_.chat_error;
  TRI_ASSIGN_OR_RETURN(AcceptedRequest accepted,
                       AdmitChat(request, parts_.dispatcher->served(), *parts_.tokenizer,
                                 *parts_.chat_format, NextDefaults()));
  accepted.timeout = TimeLeft(context);
  TRI_RETURN_IF_ERROR(parts_.door->Admit(context, accepted));
  return accepted;
}

grpc::ServerWriteReactor<v1::GenerateResponse>* InferenceService::Generate(
    grpc::CallbackServerContext* context, const v1::GenerateRequest* request) {
  return std::make_shared<StreamReactor>(*parts_.dispatcher, *parts_.slow_readers, *context)
      ->Start(*parts_.tokenizer, Named(*context, *request, Admit(*context, *request)));
}

grpc::ServerUnaryReactor* InferenceService::GenerateUnary(grpc::CallbackServerContext* context,
                                                          const v1::GenerateRequest* request,
                                                          v1::GenerateResponse* response) {
  return std::make_shared<UnaryReactor>(*parts_.dispatcher, *context, *response)
      ->Start(*parts_.tokenizer, Named(*context, *request, Admit(*context, *request)));
}

grpc::ServerWriteReactor<v1::GenerateResponse>* InferenceService::Chat(
    grpc::CallbackServerContext* context, const v1::ChatRequest* request) {
  return std::make_shared<StreamReactor>(*parts_.dispatcher, *parts_.slow_readers, *context)
      ->Start(*parts_.tokenizer, Named(*context, *request, Admit(*context, *request)));
}

grpc::ServerUnaryReactor* InferenceService::Tokenize(grpc::CallbackServerContext* context,
                                                     const v1::TokenizeRequest* request,
                                                     v1::TokenizeResponse* response) {
  const auto ids = parts_.tokenizer->Encode(
      request->text(), request->parse_special() ? SpecialTokens::kParse : SpecialTokens::kAsText);
  if (!ids.ok()) return Answer(*context, ids.status());
  response->mutable_ids()->Add(ids->begin(), ids->end());
  return Answer(*context, absl::OkStatus());
}

grpc::ServerUnaryReactor* InferenceService::Detokenize(grpc::CallbackServerContext* context,
                                                       const v1::DetokenizeRequest* request,
                                                       v1::DetokenizeResponse* response) {
  const int32_t vocabulary = parts_.tokenizer->vocab_size();
  for (const int32_t id : request->ids()) {
    if (id < 0 || id >= vocabulary) {
      return Answer(*context, absl::InvalidArgumentError(absl::StrFormat(
                                  "ids: expected ids from 0 to %d; got %d", vocabulary - 1, id)));
    }
  }
  response->set_text(
      parts_.tokenizer->Decode({request->ids().data(), static_cast<size_t>(request->ids_size())}));
  return Answer(*context, absl::OkStatus());
}

grpc::ServerUnaryReactor* InferenceService::Models(grpc::CallbackServerContext* context,
                                                   const v1::ModelsRequest*,
                                                   v1::ModelsResponse* response) {
  *response->add_models() = ReportModel(*parts_.dispatcher, parts_.chat_format);
  return Answer(*context, absl::OkStatus());
}

}  // namespace trireme
