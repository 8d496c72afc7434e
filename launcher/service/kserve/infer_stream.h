// ModelStreamInfer: many requests over one stream, each an InferCall, their responses mixed as they
// come. An error of one is a message in the stream and disturbs no other.
//
// gRPC allows one write at a time: whoever finds none under way takes the next response of the call
// that has waited longest. With kMaxStreamedCalls running, nothing more is read until one has
// ended, so a client that sends without end waits, and costs no memory.
#pragma once

#include <grpcpp/grpcpp.h>

#include <deque>
#include <map>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "launcher/service/kserve/infer_call.h"
#include "runtime/base/mutex.h"

namespace trireme {

class InferStream final : public grpc::ServerBidiReactor<inference::ModelInferRequest,
                                                         inference::ModelStreamInferResponse>,
                          public std::enable_shared_from_this<InferStream> {
 public:
  InferStream(const InferParts& parts, grpc::CallbackServerContext& rpc)
      : parts_(parts), rpc_(rpc) {}

  // The reactor to hand to gRPC. It keeps itself alive until OnDone.
  InferStream* Start();

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  struct Entry {
    std::shared_ptr<InferCall> call;
    bool queued = false;  // is in ready_
  };

  void Ready(uint64_t number);
  // Writes what is waiting, if no write is under way; ends the stream once nothing can come.
  void Pump();
  // The next response into outgoing_, by whoever found no write under way. The call that ended with
  // it, if it did.
  std::shared_ptr<InferCall> TakeNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool MayRead() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CancelAll();

  const InferParts parts_;
  grpc::CallbackServerContext& rpc_;  // gRPC's, until OnDone
  std::shared_ptr<SlowReaders::Write> write_;
  std::shared_ptr<InferStream> self_;
  inference::ModelInferRequest incoming_;         // by the one read under way
  inference::ModelStreamInferResponse outgoing_;  // by whoever set busy_
  Mutex mutex_;
  std::map<uint64_t, Entry> calls_ ABSL_GUARDED_BY(mutex_);
  std::deque<uint64_t> ready_ ABSL_GUARDED_BY(mutex_);  // may have a response
  uint64_t last_number_ ABSL_GUARDED_BY(mutex_) = 0;
  bool reading_ ABSL_GUARDED_BY(mutex_) = false;
  bool read_all_ ABSL_GUARDED_BY(mutex_) = false;  // the client sends no more
  bool busy_ ABSL_GUARDED_BY(mutex_) = false;
  bool gone_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace trireme
