// The workers that a backend's verbs run on. One caller at a time hands out a range of tasks; the
// workers spin briefly for the next range (a decode step issues hundreds, microseconds apart) and
// then sleep, so that an idle process uses no CPU.
//
// Which thread runs which task never changes a result: every task writes its own outputs.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

namespace trireme {

// A borrowed reference to a callable void(int64_t task); it must outlive the call that takes it.
class TaskRef {
 public:
  template <typename F>
  explicit TaskRef(const F& function)
      : object_(&function),
        call_([](const void* object, int64_t task) { (*static_cast<const F*>(object))(task); }) {}
  void operator()(int64_t task) const { call_(object_, task); }

 private:
  const void* object_;
  void (*call_)(const void*, int64_t);
};

class ThreadPool {
 public:
  // `threads` >= 1 counts the caller: 1 starts no worker.
  explicit ThreadPool(int threads);
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  ~ThreadPool();

  int threads() const { return threads_; }

  // Calls task(i) for i in [0, tasks), on the caller and the workers; returns when all have ended.
  // Allocates nothing. Not reentrant, one caller at a time.
  template <typename F>
  void ParallelFor(int64_t tasks, const F& task) {
    if (threads_ == 1 || tasks <= 1) {
      for (int64_t i = 0; i < tasks; ++i) task(i);
      return;
    }
    Run(tasks, TaskRef(task));
  }

 private:
  struct State;
  void Run(int64_t tasks, TaskRef task);
  static void WorkerLoop(State& state);

  const int threads_;
  std::unique_ptr<State> state_;
  std::vector<std::jthread> workers_;
};

// Cores this process may run on (its affinity mask, not the machine's count).
int AvailableCores();

// Cores that it could be given: what a launcher bound it to does not count, what the system grants
// does.
std::vector<int> MachineCores();
// Binds the calling thread.
void RunOnCore(int core);

}  // namespace trireme
