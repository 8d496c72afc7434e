#include "launcher/coordinator/trace_box.h"

#include <utility>

#include "absl/strings/str_format.h"

namespace trireme {

absl::StatusOr<uint64_t> TraceBox::Open() {
  const MutexLock lock(mutex_);
  if (waiting_.size() >= kMostWaiting) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("%d traces are being waited for; try again later", waiting_.size()));
  }
  waiting_.emplace(++last_, std::nullopt);
  return last_;
}

void TraceBox::Put(uint64_t number, std::string trace) {
  if (trace.size() > kMostBytes) return;
  const MutexLock lock(mutex_);
  const auto found = waiting_.find(number);
  if (found == waiting_.end()) return;
  found->second = std::move(trace);
  changed_.NotifyAll();
}

absl::StatusOr<std::string> TraceBox::Take(uint64_t number, Deadline deadline) {
  MutexLock lock(mutex_);
  bool in_time = true;
  while (in_time && !waiting_[number].has_value()) in_time = changed_.WaitUntil(mutex_, deadline);
  std::optional<std::string> trace = std::move(waiting_[number]);
  waiting_.erase(number);
  if (trace) return *std::move(trace);
  return absl::DeadlineExceededError("the group's leader did not send its trace in time");
}

}  // namespace trireme
