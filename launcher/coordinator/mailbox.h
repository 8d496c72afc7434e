// A bounded queue into a gRPC stream: many threads put, one reactor takes. Putting and waking are
// two calls on purpose: Put happens under the dispatcher's lock, which fixes the order of what
// arrives, and Wake, which may start a write, after the lock was released.
#pragma once

#include <deque>
#include <functional>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "runtime/base/mutex.h"

namespace trireme {

template <typename T>
class Mailbox {
 public:
  // `wake` runs on whichever thread calls Wake, must not block, and must stay callable for the
  // mailbox's life.
  Mailbox(size_t max_bytes, std::function<void()> wake)
      : max_bytes_(max_bytes), wake_(std::move(wake)) {}

  // False when what is unread would exceed max_bytes: the item was not taken.
  [[nodiscard]] bool Put(T item, size_t bytes) {
    MutexLock lock(mutex_);
    if (unread_bytes_ + bytes > max_bytes_) return false;
    unread_bytes_ += bytes;
    items_.emplace_back(std::move(item), bytes);
    return true;
  }
  // For the one item that ends a stream: it always fits, and nothing unread is worth more than it.
  void PutLast(T item) {
    MutexLock lock(mutex_);
    items_.emplace_back(std::move(item), 0);
  }

  void Wake() const { wake_(); }

  std::optional<T> Take() {
    MutexLock lock(mutex_);
    if (items_.empty()) return std::nullopt;
    auto [item, bytes] = std::move(items_.front());
    items_.pop_front();
    unread_bytes_ -= bytes;
    return std::move(item);
  }

 private:
  const size_t max_bytes_;
  const std::function<void()> wake_;
  Mutex mutex_;
  std::deque<std::pair<T, size_t>> items_ ABSL_GUARDED_BY(mutex_);
  size_t unread_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace trireme
