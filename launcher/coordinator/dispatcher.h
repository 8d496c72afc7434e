// The coordinator's heart: it joins accepted requests (journal), worker groups (registry) and the
// policy between them (router). It knows no gRPC and no clock of its own: streams and links are
// mailboxes, time is asked of Options::now, so that everything that can go wrong with a group is
// tested in one process without waiting.
//
// A request's way: Accept writes it into the journal and gives it to a group; OnTokens delivers
// each index once; the end erases it. When a group is lost, its requests wait in the journal for
// the next group that is ready and go on there after the last delivered token. A request that has
// lived through max_losses losses is ended: it may be what kills them.
//
// A call for n completions is n requests here, first given to one group, which computes their
// prompt once. The first error of one is the call's end; whoever reads the stream cancels the rest.
//
// Threads: every method from any thread, one lock. Mailboxes are filled under it (that fixes the
// order) and woken after. Tick is called a few times a second by one thread, which also runs the
// observer.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "launcher/coordinator/group_registry.h"
#include "launcher/coordinator/journal.h"
#include "launcher/coordinator/trace_box.h"
#include "launcher/request/admission.h"
#include "launcher/telemetry/request_metrics.h"
#include "runtime/base/mutex.h"

namespace trireme {

// What an operator or a supervisor should hear about, in order.
struct CoordinatorEvent {
  enum class Kind { kGroupAttached, kGroupLost, kServing, kNotServing };
  Kind kind = Kind::kServing;
  std::string group;   // of the first two
  absl::Status cause;  // of kGroupLost; OK when the group left as it was told to
};

struct DispatcherOptions {
  LivenessOptions liveness;
  std::string model_name;
  std::string tokenizer_hash;  // "": not checked
  int64_t vocabulary = 0;      // until a group says how many the model has
  size_t max_requests = 1024;  // accepted and not ended
  std::chrono::milliseconds request_timeout{600'000};
  std::chrono::milliseconds replay_timeout{30'000};  // longest wait for another group after a loss
  std::chrono::milliseconds max_queue{60'000};       // longest wait for its turn that is accepted
  int max_losses = 2;
  // Clients have keys: a request that nobody admitted as its caller's (AdmitAs) is refused, so that
  // a front door which forgets to ask stays closed.
  bool callers_required = false;
  std::function<TimePoint()> now = [] { return Deadline::Clock::now(); };
  MetricOptions metrics;  // model_name is set by the dispatcher
  std::function<void(const CoordinatorEvent&)> observer = [](const CoordinatorEvent&) {};
  // What else must hold for a call to be accepted. Called without a lock.
  std::function<absl::Status()> may_accept = [] { return absl::OkStatus(); };
  // Of every accepted call, once; on the thread that its end came on, without a lock.
  std::function<void(const CallEnd&)> on_end = [](const CallEnd&) {};
};

class Dispatcher {
 public:
  explicit Dispatcher(DispatcherOptions options);
  Dispatcher(const Dispatcher&) = delete;
  Dispatcher& operator=(const Dispatcher&) = delete;

  // What requests are checked against at the door.
  ServedModel served() const ABSL_LOCKS_EXCLUDED(mutex_);
  std::string identity() const ABSL_LOCKS_EXCLUDED(mutex_);
  std::vector<GroupSnapshot> Groups() const ABSL_LOCKS_EXCLUDED(mutex_);
  size_t requests() const ABSL_LOCKS_EXCLUDED(mutex_);
  const RequestMetrics& metrics() const { return metrics_; }
  // A request did not get as far as Accept.
  void OnRefused(const absl::Status& status) { metrics_.OnRefused(status); }

  // The call's number. Its events go to `stream`, the last one of each choice with a finish.
  // UNAVAILABLE (no group is ready, or stopping), RESOURCE_EXHAUSTED (all full, or it could not
  // begin in time), ALREADY_EXISTS (the id is running), what may_accept says, DEADLINE_EXCEEDED (it
  // came too late to be of use), UNAUTHENTICATED. The first two say when to try again
  // (load/refusal.h).
  absl::StatusOr<uint64_t> Accept(const AcceptedRequest& accepted,
                                  std::shared_ptr<StreamMailbox> stream)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // The client is gone: nothing more is put into its stream. Unknown numbers are ignored.
  void Cancel(uint64_t call) ABSL_LOCKS_EXCLUDED(mutex_);

  // Of a leader's stream. A Welcome is put into `link` on success.
  absl::StatusOr<uint64_t> Attach(const v1::Hello& hello, std::shared_ptr<LinkMailbox> link)
      ABSL_LOCKS_EXCLUDED(mutex_);
  void OnHeartbeat(uint64_t incarnation, const v1::Heartbeat& heartbeat)
      ABSL_LOCKS_EXCLUDED(mutex_);
  void OnTokens(uint64_t incarnation, const v1::TokenBatch& batch) ABSL_LOCKS_EXCLUDED(mutex_);
  // The leader left or its stream broke. Idempotent.
  void Detach(uint64_t incarnation, const absl::Status& cause) ABSL_LOCKS_EXCLUDED(mutex_);

  // The last steps of a group ("": of the first attached, whose name `group` becomes), asked of its
  // leader. Blocks. NOT_FOUND, and the errors of TraceBox.
  absl::StatusOr<std::string> Trace(std::string& group, Deadline deadline)
      ABSL_LOCKS_EXCLUDED(mutex_);
  void OnTrace(v1::TraceAnswer answer);

  void Tick() ABSL_LOCKS_EXCLUDED(mutex_);

  // Stop, in two steps: no new requests and not serving; then what still runs is ended and groups
  // are told to leave.
  void StopAccepting() ABSL_LOCKS_EXCLUDED(mutex_);
  void EndAll(const std::string& reason) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  // What is done once the lock is released: lines to log, mailboxes to wake.
  struct Afterwards {
    std::vector<std::function<void()>> logs;
    std::vector<std::shared_ptr<StreamMailbox>> streams;
    std::vector<std::shared_ptr<LinkMailbox>> links;
    void Run() const;
  };

  // The group that a call may be given to now.
  absl::StatusOr<uint64_t> Place(const AcceptedRequest& accepted, TimePoint now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Send(uint64_t incarnation, v1::CoordinatorMessage message, Afterwards& after)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Gives an entry to a group, which may be lost by the sending, and the entry ended with it.
  void Assign(uint64_t incarnation, JournalEntry& entry, Afterwards& after)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PlaceWaiting(Afterwards& after) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Unassign(JournalEntry& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CancelOnGroup(JournalEntry& entry, Afterwards& after) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Forgets the request, and the call with its last.
  void Forget(JournalEntry& entry, const absl::Status& status, Afterwards& after)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Puts the last event, forgets the request.
  void End(JournalEntry& entry, StreamEvent last, Afterwards& after)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EndWithError(JournalEntry& entry, const absl::Status& error, Afterwards& after)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // False when the group proved broken and was given up: the rest of its batch means nothing.
  bool Apply(uint64_t incarnation, const v1::TokenUpdate& update, Afterwards& after)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Deliver(JournalEntry& entry, const v1::TokenUpdate& update, Afterwards& after)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Lose(uint64_t incarnation, const absl::Status& cause, Afterwards& after)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Orphan(JournalEntry& entry, const absl::Status& cause, Afterwards& after)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ExpireRequests(TimePoint now, Afterwards& after) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // What is known of a request once it has its first token, and once it has ended.
  RequestRecord RecordOf(const JournalEntry& entry, TimePoint now) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void NoteToken(JournalEntry& entry, const v1::TokenUpdate& update)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // What it has used of the group that it is about to leave.
  void ChargeDevice(JournalEntry& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void NoteEnd(JournalEntry& entry, FinishReason finish, const absl::Status& error,
               Afterwards& after) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const DispatcherOptions options_;
  RequestMetrics metrics_;
  TraceBox traces_;
  mutable Mutex mutex_;
  GroupRegistry registry_ ABSL_GUARDED_BY(mutex_){options_.liveness, options_.tokenizer_hash};
  Journal journal_ ABSL_GUARDED_BY(mutex_);
  std::vector<CoordinatorEvent> events_ ABSL_GUARDED_BY(mutex_);
  bool accepting_ ABSL_GUARDED_BY(mutex_) = true;
  bool serving_ ABSL_GUARDED_BY(mutex_) = false;  // as last told to the observer
};

}  // namespace trireme
