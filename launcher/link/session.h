// One attachment of a group to its coordinator, from Welcome to the end of the link.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "launcher/link/coordinator_link.h"
#include "runtime/base/mutex.h"
#include "runtime/engine/engine.h"

namespace trireme {

// What the engine thread hands to the writer. It outlives its session in the engine's sinks:
// closed, it drops what it is given.
class Outbox {
 public:
  void Put(v1::TokenUpdate update) ABSL_LOCKS_EXCLUDED(mutex_);
  // Makes a waiting Take return.
  void Poke() ABSL_LOCKS_EXCLUDED(mutex_);
  void Close() ABSL_LOCKS_EXCLUDED(mutex_);
  // At most `most` updates, in order; waits for one, a poke, or the deadline.
  std::vector<v1::TokenUpdate> Take(size_t most, Deadline deadline) ABSL_LOCKS_EXCLUDED(mutex_);
  // True once updates had to be dropped: the link is too slow to be of use and must end.
  bool overflowed() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  static constexpr size_t kMaxUpdates = size_t{1} << 16;

  mutable Mutex mutex_;
  CondVar changed_;
  std::vector<v1::TokenUpdate> updates_ ABSL_GUARDED_BY(mutex_);
  bool poked_ ABSL_GUARDED_BY(mutex_) = false;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool overflowed_ ABSL_GUARDED_BY(mutex_) = false;
};

class Session {
 public:
  enum class End {
    kToldToLeave,  // by the coordinator or through `stop`
    kLinkBroke,
    kEngineLost,
  };

  // `last_engine_id` numbers the engine's requests across sessions: a new session never collides
  // with requests of the last one that are still being cancelled.
  // `trace` gives what a TraceAsk asks for, on the thread that runs Run.
  Session(std::unique_ptr<CoordinatorLink> link, Engine& engine, uint64_t& last_engine_id,
          std::function<std::string()> trace);
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  // Cancels what is still running.
  ~Session();

  // Once.
  End Run(std::chrono::milliseconds heartbeat, std::stop_token stop);
  // Why, after kLinkBroke.
  const absl::Status& link_status() const { return link_status_; }

 private:
  void ReadLoop() ABSL_LOCKS_EXCLUDED(mutex_);
  void Submit(const v1::Submit& submit) ABSL_LOCKS_EXCLUDED(mutex_);
  // Hands the request to the engine, unless it has been cancelled.
  void Start(uint64_t request, Request work) ABSL_LOCKS_EXCLUDED(mutex_);
  void Refuse(uint64_t request, const absl::Status& status);
  void CompileLoop() ABSL_LOCKS_EXCLUDED(mutex_);
  void Cancel(uint64_t request) ABSL_LOCKS_EXCLUDED(mutex_);
  bool WriteUpdates(std::vector<v1::TokenUpdate> updates);
  bool WriteHeartbeat(const EngineStatus& status);
  bool WriteTraces() ABSL_LOCKS_EXCLUDED(mutex_);
  void SayGoodbye(const absl::Status& status);

  const std::unique_ptr<CoordinatorLink> link_;
  Engine& engine_;
  uint64_t& last_engine_id_;  // reader thread
  const std::function<std::string()> trace_;
  const std::shared_ptr<Outbox> outbox_ = std::make_shared<Outbox>();
  EngineStatus reported_;     // writer thread: as of the last heartbeat
  absl::Status link_status_;  // set at the end of Run
  // A request whose grammar is to be compiled, which takes up to a second.
  struct Constrained {
    uint64_t request = 0;
    Request work;
  };

  Mutex mutex_;
  CondVar reader_ended_;
  CondVar constrained_came_;  // or reader_done_
  std::deque<Constrained> constrained_ ABSL_GUARDED_BY(mutex_);
  std::map<uint64_t, uint64_t> engine_ids_ ABSL_GUARDED_BY(mutex_);  // by the coordinator's number
  std::vector<uint64_t> traces_asked_ ABSL_GUARDED_BY(mutex_);       // numbers
  bool told_to_leave_ ABSL_GUARDED_BY(mutex_) = false;
  bool reader_done_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace trireme
