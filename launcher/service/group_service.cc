#include "launcher/service/group_service.h"

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "launcher/coordinator/limits.h"
#include "launcher/service/grpc_status.h"
#include "runtime/base/mutex.h"

namespace trireme {
namespace {

using AttachStream = grpc::ServerBidiReactor<v1::GroupMessage, v1::CoordinatorMessage>;

// One attached leader. Reads are serial (gRPC makes the next one only when asked), so messages of a
// group reach the dispatcher in order. Writes and Finish follow the rule of StreamReactor
// (inference_service.cc).
class AttachReactor final : public AttachStream,
                            public std::enable_shared_from_this<AttachReactor> {
 public:
  explicit AttachReactor(Dispatcher& dispatcher) : dispatcher_(dispatcher) {}

  AttachReactor* Start() {
    self_ = shared_from_this();
    mailbox_ = std::make_shared<LinkMailbox>(kMaxLinkBytes, [weak = weak_from_this()] {
      if (const auto reactor = weak.lock()) reactor->Pump();
    });
    StartRead(&incoming_);
    return this;
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      Leave(absl::UnavailableError("its leader's link broke"));
      return;
    }
    const absl::Status status = Take();
    if (!status.ok()) {
      Leave(status);
      return;
    }
    StartRead(&incoming_);
  }

  void OnWriteDone(bool ok) override {
    {
      MutexLock lock(mutex_);
      busy_ = false;
    }
    if (!ok) {
      Leave(absl::UnavailableError("its leader's link broke"));
      return;
    }
    Pump();
  }

  void OnCancel() override { Leave(absl::UnavailableError("its leader's link broke")); }

  void OnDone() override {
    const std::shared_ptr<AttachReactor> last = std::move(self_);
    dispatcher_.Detach(incarnation_, absl::UnavailableError("its leader's link broke"));
  }

 private:
  absl::Status Take() {
    const uint64_t incarnation = incarnation_;
    if (incarnation == 0) {
      if (!incoming_.has_hello()) {
        return absl::InvalidArgumentError("expected hello as the first message of a group");
      }
      const absl::StatusOr<uint64_t> attached = dispatcher_.Attach(incoming_.hello(), mailbox_);
      if (!attached.ok()) return attached.status();
      incarnation_ = *attached;
      return absl::OkStatus();
    }
    switch (incoming_.kind_case()) {
      case v1::GroupMessage::kHeartbeat:
        dispatcher_.OnHeartbeat(incarnation, incoming_.heartbeat());
        return absl::OkStatus();
      case v1::GroupMessage::kTokens:
        dispatcher_.OnTokens(incarnation, incoming_.tokens());
        return absl::OkStatus();
      case v1::GroupMessage::kTrace:
        dispatcher_.OnTrace(incoming_.trace());
        return absl::OkStatus();
      case v1::GroupMessage::kGoodbye:
        dispatcher_.Detach(incarnation,
                           absl::Status(static_cast<absl::StatusCode>(incoming_.goodbye().code()),
                                        incoming_.goodbye().message()));
        return absl::OkStatus();
      default:
        return absl::InvalidArgumentError("unexpected message from a group");
    }
  }

  // Detaches and ends the stream with `status`.
  void Leave(const absl::Status& status) {
    dispatcher_.Detach(incarnation_, status);
    {
      MutexLock lock(mutex_);
      if (finished_) return;
      finished_ = true;
    }
    Finish(ToGrpc(status));
  }

  void Pump() {
    std::optional<absl::Status> close;
    {
      MutexLock lock(mutex_);
      if (busy_ || finished_) return;
      std::optional<LinkItem> item = mailbox_->Take();
      if (!item.has_value()) return;
      if (item->close) {
        close = item->status;
        finished_ = true;
      } else {
        outgoing_ = std::move(item->message);
        busy_ = true;
      }
    }
    if (close.has_value()) {
      Finish(ToGrpc(*close));
    } else {
      StartWrite(&outgoing_);
    }
  }

  Dispatcher& dispatcher_;
  std::shared_ptr<AttachReactor> self_;
  std::shared_ptr<LinkMailbox> mailbox_;
  v1::GroupMessage incoming_;
  v1::CoordinatorMessage outgoing_;        // whoever set busy_
  std::atomic<uint64_t> incarnation_ = 0;  // 0: not attached yet
  Mutex mutex_;
  bool busy_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace

AttachStream* GroupService::Attach(grpc::CallbackServerContext*) {
  return std::make_shared<AttachReactor>(dispatcher_)->Start();
}

}  // namespace trireme
