// One KServe request on its way: admitted as every request is, given to the dispatcher, and read
// back response by response. Unary calls and streams are shells around it.
//
// Threads: any, one at a time for Next; Cancel at any time.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "kserve/inference.pb.h"
#include "launcher/coordinator/dispatcher.h"
#include "launcher/load/slow_readers.h"
#include "launcher/service/inference_service.h"
#include "launcher/service/kserve/infer_request.h"
#include "launcher/service/response_builder.h"
#include "runtime/text/tokenizer.h"

namespace trireme {

// How calls have ended, for ModelStatistics.
class InferTally {
 public:
  void Add(bool success, std::chrono::nanoseconds took);
  inference::ModelStatistics Report(const std::string& model) const;

 private:
  std::atomic<uint64_t> successes_ = 0, success_ns_ = 0, failures_ = 0, failure_ns_ = 0;
  std::atomic<uint64_t> last_ms_ = 0;
};

// What calls need of the server; all outlives them.
struct InferParts {
  Dispatcher* dispatcher = nullptr;
  SlowReaders* slow_readers = nullptr;
  InferenceService* inference = nullptr;  // whose way in is the one for all
  const Tokenizer* tokenizer = nullptr;
  InferTally* tally = nullptr;
};

class InferCall {
 public:
  enum class Kind { kUnary, kStreamed };
  struct Reply {
    inference::ModelInferResponse response;  // of an error: only what identifies the request
    absl::Status error;
    bool last = false;
  };

  InferCall(const InferParts& parts, Kind kind) : parts_(parts), kind_(kind) {}

  // Once. `wake` is told, on any thread, also before this returns, that Next may have something.
  void Start(const grpc::CallbackServerContext& rpc, const inference::ModelInferRequest& request,
             std::function<void()> wake);

  // What is to be sent; nothing: wait for the next wake. Nothing comes after the last.
  std::optional<Reply> Next();

  // Ends it on the engine's side, if it has not ended. Idempotent.
  void Cancel() { parts_.dispatcher->Cancel(call_); }

 private:
  absl::StatusOr<AcceptedRequest> Admit(const grpc::CallbackServerContext& rpc,
                                        const inference::ModelInferRequest& request);
  absl::Status Begin(const AcceptedRequest& accepted, std::function<void()> wake);
  Reply Finished(const absl::Status& error);

  const InferParts parts_;
  const Kind kind_;
  const std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
  InferRequest request_;
  int32_t choices_ = 1;
  int64_t input_tokens_ = 0;
  absl::Status refusal_;
  std::shared_ptr<StreamMailbox> mailbox_;
  std::unique_ptr<ResponseBuilder> builder_;
  v1::GenerateResponse whole_;      // of a call that is not streamed
  std::atomic<uint64_t> call_ = 0;  // 0: never accepted
  bool ended_ = false;
};

}  // namespace trireme
