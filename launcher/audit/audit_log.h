// The audit log: who did what, when, and how it ended; one line an event, in a file that only grows
// (audit_record.h says how its lines are chained; `trireme audit verify` checks one).
//
// Its head, the number and hash of its last line, stands in the file FILE.head beside it: copy that
// elsewhere now and then, and nobody can cut lines off or write the log anew without its showing.
//
// Two ways in. Add never waits: events of serving are queued, written by the log's own thread, and
// counted as dropped where the queue is full or the disk is; what was dropped is itself an event
// once writing works again. AddNow returns when the event is on disk, or why it is not: what an
// operator does is refused when it cannot be recorded.
//
// Threads: any. `audit` writes.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "launcher/audit/audit_record.h"
#include "runtime/base/deadline.h"
#include "runtime/base/mutex.h"

namespace trireme {

enum class AuditSync {
  kAlways,    // every event is on disk before the next is written
  kInterval,  // what was written is on disk within AuditOptions::interval
  kNever,     // when the system likes
};

struct AuditOptions {
  std::string file;
  AuditSync sync = AuditSync::kInterval;
  std::chrono::milliseconds interval{1'000};
  size_t max_queue = 16'384;  // events
  std::function<absl::Time()> wall_clock = [] { return absl::Now(); };
};

class AuditLog {
 public:
  // Goes on where the file ends. A last line that its writer could not finish is cut off, and that
  // is recorded. DATA_LOSS: the file's end is no audit log's, or its head says that lines are
  // missing; move it away and find out why. FAILED_PRECONDITION: another process writes it.
  // UNAVAILABLE: it cannot be opened.
  static absl::StatusOr<std::unique_ptr<AuditLog>> Open(AuditOptions options);
  // Writes what is queued.
  ~AuditLog();
  AuditLog(const AuditLog&) = delete;
  AuditLog& operator=(const AuditLog&) = delete;

  void Add(AuditEvent event) ABSL_LOCKS_EXCLUDED(mutex_);
  // UNAVAILABLE: it could not be written; DEADLINE_EXCEEDED.
  absl::Status AddNow(AuditEvent event, Deadline deadline) ABSL_LOCKS_EXCLUDED(mutex_);

  // Of Add: events that are in no file.
  int64_t dropped() const ABSL_LOCKS_EXCLUDED(mutex_);
  // Why the last attempt to write failed; OK while writing works.
  absl::Status health() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Waiter {
    bool done = false;
    absl::Status status;
  };
  struct Entry {
    AuditEvent event;
    absl::Time time;
    std::shared_ptr<Waiter> waiter;  // null: of Add
  };
  // The descriptors, closed with it.
  struct Files;

  AuditLog(AuditOptions options, std::unique_ptr<Files> files, AuditHead head);

  void Run(const std::stop_token& stop) ABSL_LOCKS_EXCLUDED(mutex_);
  // Writes a batch as a whole, or nothing of it.
  absl::Status Write(const std::vector<Entry>& batch, int64_t dropped_before);
  absl::Status Sync();
  // After the lines it speaks of are on disk: a crash may leave it behind them, never before.
  absl::Status WriteHead();
  void Report(const std::vector<Entry>& batch, const absl::Status& status, int64_t recorded_drops)
      ABSL_LOCKS_EXCLUDED(mutex_);

  const AuditOptions options_;
  const std::unique_ptr<Files> files_;  // the writing thread's
  AuditHead head_;                      // the writing thread's
  bool unsynced_ = false;               // the writing thread's
  absl::Status broken_;  // the writing thread's: a failed fsync, which no other mends
  mutable Mutex mutex_;
  CondVar changed_;
  std::vector<Entry> queue_ ABSL_GUARDED_BY(mutex_);
  int64_t dropped_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t unrecorded_ ABSL_GUARDED_BY(mutex_) = 0;  // of those, in no "dropped" event yet
  absl::Status health_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::jthread writer_;  // last: it uses all of the above
};

}  // namespace trireme
