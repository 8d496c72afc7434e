// The public API as a gRPC shell: it admits (coordinator/admission), hands to the dispatcher, and
// turns token events into messages. It holds no state of its own but the streams in flight.
//
// Threads: gRPC's callback threads; nothing here blocks. A stream's reactor owns itself until gRPC
// says it is done.
#pragma once

#include <atomic>
#include <memory>

#include "launcher/coordinator/dispatcher.h"
#include "launcher/load/slow_readers.h"
#include "launcher/service/access/door.h"
#include "runtime/text/chat_format.h"
#include "runtime/text/tokenizer.h"
#include "trireme/v1/inference.grpc.pb.h"

namespace trireme {

class InferenceService final : public v1::Inference::CallbackService {
 public:
  // All must outlive the server. chat_format may be null: then chat_error says why.
  struct Parts {
    Dispatcher* dispatcher = nullptr;
    SlowReaders* slow_readers = nullptr;
    const Tokenizer* tokenizer = nullptr;
    const ChatFormat* chat_format = nullptr;
    absl::Status chat_error;
    Door* door = nullptr;
  };
  explicit InferenceService(Parts parts) : parts_(std::move(parts)) {}

  grpc::ServerWriteReactor<v1::GenerateResponse>* Generate(
      grpc::CallbackServerContext* context, const v1::GenerateRequest* request) override;
  grpc::ServerUnaryReactor* GenerateUnary(grpc::CallbackServerContext* context,
                                          const v1::GenerateRequest* request,
                                          v1::GenerateResponse* response) override;
  grpc::ServerWriteReactor<v1::GenerateResponse>* Chat(grpc::CallbackServerContext* context,
                                                       const v1::ChatRequest* request) override;
  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext* context,
                                     const v1::TokenizeRequest* request,
                                     v1::TokenizeResponse* response) override;
  grpc::ServerUnaryReactor* Detokenize(grpc::CallbackServerContext* context,
                                       const v1::DetokenizeRequest* request,
                                       v1::DetokenizeResponse* response) override;
  grpc::ServerUnaryReactor* Models(grpc::CallbackServerContext* context,
                                   const v1::ModelsRequest* request,
                                   v1::ModelsResponse* response) override;

  // The one way in, for every gRPC service: checked, with the call's deadline.
  absl::StatusOr<AcceptedRequest> Admit(const grpc::CallbackServerContext& context,
                                        const v1::GenerateRequest& request);

 private:
  absl::StatusOr<AcceptedRequest> Admit(const grpc::CallbackServerContext& context,
                                        const v1::ChatRequest& request);
  AdmissionDefaults NextDefaults();

  const Parts parts_;
  std::atomic<uint64_t> requests_ = 0;
};

}  // namespace trireme
