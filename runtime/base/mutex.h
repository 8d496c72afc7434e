// std::mutex with the annotations that clang's thread-safety analysis reads. Where threads only
// exclude each other it is preferred to absl::Mutex: the thread sanitizer sees pthread's locks, but
// not those inside the distribution's (uninstrumented) abseil, and would report every access they
// guard as a race.
#pragma once

#include <mutex>

#include "absl/base/thread_annotations.h"

namespace trireme {

class ABSL_LOCKABLE Mutex {
 public:
  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() { mutex_.lock(); }
  void Unlock() ABSL_UNLOCK_FUNCTION() { mutex_.unlock(); }

 private:
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

}  // namespace trireme
