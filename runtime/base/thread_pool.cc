#include "runtime/base/thread_pool.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <climits>
#include <cstring>
#include <optional>

#include "runtime/base/check.h"

namespace trireme {
namespace {

// Measured on two cores: a wake-up through the kernel costs 50 to 100 us, the gap between two verbs
// of a decode step is under 20 us, so spinning this long bridges a step and little more.
constexpr std::chrono::microseconds kSpin{100};

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

void FutexWait(std::atomic<uint32_t>& word, uint32_t expected) {
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAIT_PRIVATE, expected, nullptr,
          nullptr, 0);
}

void FutexWakeAll(std::atomic<uint32_t>& word) {
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAKE_PRIVATE, INT_MAX, nullptr,
          nullptr, 0);
}

}  // namespace

// A range is open from its publication until the caller has run out of tasks; only while it is open
// may a worker join it, and the caller waits for those that joined. So a worker that the kernel
// does not schedule in time costs nothing: the caller does its share. (Measured with a busy
// neighbour on two cores: waiting for every worker instead cost a decode step five times its time.)
struct ThreadPool::State {
  static constexpr uint64_t kOpen = uint64_t{1} << 31;
  static constexpr uint64_t kJoined = kOpen - 1;

  // What sleeping workers watch.
  alignas(64) std::atomic<uint32_t> generation{0};
  // Generation (high half), kOpen, and the number of workers that have joined. `task`, `tasks` and
  // `next` are written while nobody has joined and nobody can.
  alignas(64) std::atomic<uint64_t> gate{0};
  alignas(64) std::atomic<int64_t> next{0};
  std::atomic<int> sleeping{0};
  std::atomic<bool> stop{false};
  std::optional<TaskRef> task;
  int64_t tasks = 0;

  void RunTasks() {
    for (int64_t i = next.fetch_add(1); i < tasks; i = next.fetch_add(1)) (*task)(i);
  }

  void RunTasksIfOpen(uint32_t wanted) {
    uint64_t value = gate.load();
    while ((value >> 32) == wanted && (value & kOpen) != 0) {
      if (!gate.compare_exchange_weak(value, value + 1)) continue;
      RunTasks();
      gate.fetch_sub(1);
      return;
    }
  }
};

ThreadPool::ThreadPool(int threads) : threads_(threads), state_(std::make_unique<State>()) {
  TRI_CHECK(threads >= 1);
  for (int i = 1; i < threads; ++i) {
    workers_.emplace_back([state = state_.get()] {
      pthread_setname_np(pthread_self(), "pool");
      WorkerLoop(*state);
    });
  }
}

ThreadPool::~ThreadPool() {
  state_->stop = true;
  state_->generation.fetch_add(1);
  FutexWakeAll(state_->generation);
}

void ThreadPool::WorkerLoop(State& state) {
  uint32_t seen = 0;
  while (true) {
    const auto spin_end = std::chrono::steady_clock::now() + kSpin;
    uint32_t generation = state.generation.load();
    while (generation == seen) {
      for (int i = 0; i < 64 && generation == seen; ++i) {
        Pause();
        generation = state.generation.load();
      }
      if (generation != seen) break;
      if (std::chrono::steady_clock::now() < spin_end) continue;
      state.sleeping.fetch_add(1);
      FutexWait(state.generation, seen);
      state.sleeping.fetch_sub(1);
      generation = state.generation.load();
    }
    seen = generation;
    if (state.stop) return;
    state.RunTasksIfOpen(seen);
  }
}

void ThreadPool::Run(int64_t tasks, TaskRef task) {
  State& state = *state_;
  state.task = task;
  state.tasks = tasks;
  state.next = 0;
  const uint32_t generation = state.generation.load() + 1;
  state.gate.store((uint64_t{generation} << 32) | State::kOpen);
  state.generation.store(generation);
  if (state.sleeping.load() > 0) FutexWakeAll(state.generation);
  state.RunTasks();
  uint64_t gate = state.gate.fetch_and(~State::kOpen);
  for (int spins = 0; (gate & State::kJoined) != 0; ++spins) {
    if (spins < 4096) {
      Pause();
    } else {
      sched_yield();  // one that joined has lost its core
    }
    gate = state.gate.load();
  }
}

int AvailableCores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

std::vector<int> MachineCores() {
  std::vector<int> cores;
  // The system takes away what it does not grant. On a thread of its own, whose binding ends here.
  std::jthread([&cores] {
    cpu_set_t set;
    std::memset(&set, 0xff, sizeof set);
    sched_setaffinity(0, sizeof set, &set);
    if (sched_getaffinity(0, sizeof set, &set) != 0) CPU_ZERO(&set);
    for (int core = 0; core < CPU_SETSIZE; ++core) {
      if (CPU_ISSET(core, &set)) cores.push_back(core);
    }
  }).join();
  if (cores.empty()) cores.push_back(0);
  return cores;
}

void RunOnCore(int core) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(core, &set);
  sched_setaffinity(0, sizeof set, &set);
}

}  // namespace trireme
