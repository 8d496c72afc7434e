// Streams whose client has stopped reading. What may pile up for one is bounded (mailbox.h), but a
// stream that waits for its client for ever would still hold its place; so each says when a write
// begins and ends, and one that has waited too long is cut off.
//
// Threads: streams from any; Check from one, every second or so.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "runtime/base/mutex.h"

namespace trireme {

class SlowReaders {
 public:
  explicit SlowReaders(std::chrono::milliseconds patience) : patience_(patience) {}

  // One stream's part; it is watched for as long as the stream keeps it.
  class Write {
   public:
    explicit Write(std::function<void()> cut_off) : cut_off_(std::move(cut_off)) {}
    void Begin(int64_t now_ns) { began_ns_ = now_ns; }
    void End() { began_ns_ = 0; }

   private:
    friend class SlowReaders;
    std::atomic<int64_t> began_ns_ = 0;  // 0: none is under way
    const std::function<void()> cut_off_;
  };

  // `cut_off` is called once at most, by Check; it must not block.
  std::shared_ptr<Write> Watch(std::function<void()> cut_off) ABSL_LOCKS_EXCLUDED(mutex_);

  // How many were cut off.
  int Check(int64_t now_ns) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  const std::chrono::nanoseconds patience_;
  Mutex mutex_;
  std::vector<std::weak_ptr<Write>> writes_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace trireme
