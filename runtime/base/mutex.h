// std::mutex with the annotations that clang's thread-safety analysis reads. Where threads only
// exclude each other it is preferred to absl::Mutex: the thread sanitizer sees pthread's locks, but
// not those inside the distribution's (uninstrumented) abseil, and would report every access they
// guard as a race.
#pragma once

#include <condition_variable>
#include <mutex>

#include "absl/base/thread_annotations.h"
#include "runtime/base/deadline.h"

namespace trireme {

class ABSL_LOCKABLE Mutex {
 public:
  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() { mutex_.lock(); }
  void Unlock() ABSL_UNLOCK_FUNCTION() { mutex_.unlock(); }

 private:
  friend class CondVar;
  std::mutex mutex_;
};

class ABSL_SCOPED_LOCKABLE MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) ABSL_EXCLUSIVE_LOCK_FUNCTION(mutex) : mutex_(mutex) {
    mutex_.Lock();
  }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;
  ~MutexLock() ABSL_UNLOCK_FUNCTION() { mutex_.Unlock(); }

 private:
  Mutex& mutex_;
};

// What a thread waits on for a change of what a Mutex guards; wake-ups may be false, so waits stand
// in a loop:
//   while (!ready_) {
//     if (!changed_.WaitUntil(mutex_, deadline)) return late;
//   }
class CondVar {
 public:
  // False once the deadline has passed.
  bool WaitUntil(Mutex& mutex, Deadline deadline) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    const bool in_time =
        deadline.never() ? (changed_.wait(lock), true)
                         : changed_.wait_until(lock, deadline.when()) == std::cv_status::no_timeout;
    lock.release();
    return in_time;
  }
  void NotifyAll() { changed_.notify_all(); }

 private:
  std::condition_variable changed_;
};

}  // namespace trireme
