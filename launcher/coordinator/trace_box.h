// Traces that were asked of worker groups and have not come yet. Whoever asks waits here; the
// answer is put here by the group's stream.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "runtime/base/deadline.h"
#include "runtime/base/mutex.h"

namespace trireme {

class TraceBox {
 public:
  // Of those waiting at a time: each occupies a thread of the server.
  static constexpr size_t kMostWaiting = 4;
  static constexpr size_t kMostBytes = size_t{3} << 20;

  // A number to ask by. RESOURCE_EXHAUSTED when kMostWaiting wait already.
  absl::StatusOr<uint64_t> Open() ABSL_LOCKS_EXCLUDED(mutex_);
  // Numbers that nobody waits for (any more) are ignored, so are traces that are too long.
  void Put(uint64_t number, std::string trace) ABSL_LOCKS_EXCLUDED(mutex_);
  // Waits for the answer, and closes the number. DEADLINE_EXCEEDED.
  absl::StatusOr<std::string> Take(uint64_t number, Deadline deadline) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  Mutex mutex_;
  CondVar changed_;
  uint64_t last_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<uint64_t, std::optional<std::string>> waiting_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace trireme
