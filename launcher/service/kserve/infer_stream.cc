#include "launcher/service/kserve/infer_stream.h"

#include <utility>

#include "launcher/coordinator/limits.h"
#include "launcher/service/kserve/infer_response.h"

namespace trireme {

InferStream* InferStream::Start() {
  self_ = shared_from_this();
  write_ = parts_.slow_readers->Watch([weak = weak_from_this()] {
    if (const auto stream = weak.lock()) stream->rpc_.TryCancel();
  });
  {
    MutexLock lock(mutex_);
    reading_ = true;
  }
  StartRead(&incoming_);
  return this;
}

void InferStream::OnReadDone(bool ok) {
  if (!ok) {
    {
      MutexLock lock(mutex_);
      reading_ = false;
      read_all_ = true;
    }
    Pump();
    return;
  }
  const auto call = std::make_shared<InferCall>(parts_, InferCall::Kind::kStreamed);
  uint64_t number = 0;
  {
    MutexLock lock(mutex_);
    number = ++last_number_;
    calls_[number].call = call;
  }
  call->Start(rpc_, incoming_, [weak = weak_from_this(), number] {
    if (const auto stream = weak.lock()) stream->Ready(number);
  });
  bool read = false, gone = false;
  {
    MutexLock lock(mutex_);
    gone = gone_;
    reading_ = false;
    read = MayRead();
    if (read) reading_ = true;
  }
  if (gone) call->Cancel();  // it may have begun after the others were cancelled
  if (read) StartRead(&incoming_);
}

void InferStream::OnWriteDone(bool ok) {
  write_->End();
  {
    MutexLock lock(mutex_);
    busy_ = false;
    gone_ = gone_ || !ok;
  }
  Pump();
}

void InferStream::OnCancel() {
  {
    MutexLock lock(mutex_);
    gone_ = true;
  }
  CancelAll();
  Pump();
}

void InferStream::OnDone() {
  // The last reference: nothing may touch members after.
  const std::shared_ptr<InferStream> last = std::move(self_);
  CancelAll();
}

void InferStream::CancelAll() {
  std::vector<std::shared_ptr<InferCall>> calls;
  {
    MutexLock lock(mutex_);
    for (const auto& [number, entry] : calls_) calls.push_back(entry.call);
  }
  for (const auto& call : calls) call->Cancel();
}

void InferStream::Ready(uint64_t number) {
  {
    MutexLock lock(mutex_);
    const auto entry = calls_.find(number);
    if (entry == calls_.end() || entry->second.queued) return;
    entry->second.queued = true;
    ready_.push_back(number);
  }
  Pump();
}

bool InferStream::MayRead() const {
  return !reading_ && !read_all_ && !gone_ && !finished_ && calls_.size() < kMaxStreamedCalls;
}

std::shared_ptr<InferCall> InferStream::TakeNext() {
  while (!ready_.empty()) {
    const uint64_t number = ready_.front();
    ready_.pop_front();
    Entry& entry = calls_.at(number);
    entry.queued = false;
    std::optional<InferCall::Reply> reply = entry.call->Next();
    if (!reply.has_value()) continue;
    outgoing_.Clear();
    *outgoing_.mutable_infer_response() = std::move(reply->response);
    SetFinal(reply->last, *outgoing_.mutable_infer_response());
    if (!reply->error.ok()) outgoing_.set_error_message(std::string(reply->error.message()));
    busy_ = true;
    if (!reply->last) {
      // It may have more; if not, the next look finds that out.
      entry.queued = true;
      ready_.push_back(number);
      return nullptr;
    }
    std::shared_ptr<InferCall> ended = std::move(entry.call);
    calls_.erase(number);
    return ended;
  }
  return nullptr;
}

void InferStream::Pump() {
  std::shared_ptr<InferCall> ended;
  bool write = false, read = false;
  grpc::Status end = grpc::Status::OK;
  {
    MutexLock lock(mutex_);
    if (busy_ || finished_) return;
    if (gone_) {
      end = grpc::Status(grpc::StatusCode::CANCELLED, "the client is gone");
      finished_ = true;
    } else {
      ended = TakeNext();
      write = busy_;
      read = MayRead();
      if (read) reading_ = true;
      if (!write && !(read_all_ && calls_.empty())) return;
      finished_ = !write;
    }
  }
  if (ended != nullptr) ended->Cancel();  // one of its completions may have failed, others run
  if (read) StartRead(&incoming_);
  if (write) {
    write_->Begin(MonotonicNs());
    StartWrite(&outgoing_);
  } else {
    Finish(end);
  }
}

}  // namespace trireme
