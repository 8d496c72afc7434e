// The engine: requests in, token events out. Its thread owns the scheduler and drives an Executor;
// requests that arrive together share steps (continuous batching), and no answer depends on the
// company.
//
// Threads: Submit and Cancel from any thread; events are delivered on the engine thread through the
// sink given with the request, in order, the last one having finish != kNone, exactly once. A sink
// must not block (it hands over to a queue). Stop() (or destruction) cancels what is running,
// delivers the ends and joins the thread.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "runtime/engine/clock.h"
#include "runtime/engine/record/step_log.h"
#include "runtime/engine/request.h"
#include "runtime/engine/scheduler.h"
#include "runtime/sampling/grammar/grammar_compiler.h"
#include "runtime/step/executor.h"
#include "runtime/text/tokenizer.h"

namespace trireme {

struct EngineOptions {
  int64_t vocabulary = 0;
  int64_t max_positions = 0;  // longest prompt + completion
  int64_t pages = 0;          // KV pages each rank holds
  int64_t chunk = 0;          // of attention; 0: the model has no chunked layers
  int64_t chunk_pages = 0;    // of chunked layers, which keep only a sequence's current chunk
  int64_t page_tokens = 32;
  int64_t experts = 0;            // routed experts of a layer; 0: the model has none
  int64_t max_sequences = 64;     // in one step
  int64_t max_step_tokens = 256;  // rows in one step: prefill is cut into pieces of at most this
  int64_t max_waiting = 1024;     // requests queued beyond those running; more are refused
  int64_t step_timeout_ms = 30'000;
  // Prompts that begin alike share what was computed of them; where the pages of a chunk do not
  // end with it, they do not.
  bool prefix_cache = true;
  // ... but only those of one tenant: how fast an answer comes shows what others have asked.
  bool isolate_tenants = false;
  int64_t speculative_tokens = 0;  // guesses checked with each token of a sequence; 0: off
  int64_t ageing_ms = 10'000;      // of waiting that make up for a level of priority
  int64_t tenant_quantum = 1024;   // tokens of a tenant's share a round, among those who wait
  // For stop strings and for grammars (whose compiler must be of `vocabulary` tokens); where null,
  // requests with any are refused. Both must outlive the engine.
  const Tokenizer* tokenizer = nullptr;
  GrammarCompiler* grammars = nullptr;
  const Clock* clock = nullptr;  // of deadlines and ageing; null: the steady one
};

// Of a model with routed experts, the loads are asked for with one plan in so many, and with the
// first one after an idle time: often enough to watch, too seldom to cost anything (tens of KB).
inline constexpr uint64_t kStepsBetweenLoads = 16;

// The longest sequence that an empty cache can hold.
int64_t KvPositions(const EngineOptions& options);

// Since the start.
struct StepTimes {
  int64_t step_us = 0;     // from plan to result; of steps that overlap, once
  int64_t compute_us = 0;  // StepResult::stage_times, summed over stages
  int64_t wait_us = 0;
};

struct EngineStatus {
  int64_t running = 0;
  int64_t waiting = 0;
  int64_t free_pages = 0;    // held by nobody
  int64_t cached_pages = 0;  // of these, holding what may be found again
  int64_t pages = 0;
  uint64_t steps = 0;
  SchedulerCounters counters;
  StepTimes step_times;
  // Of the model, and StepResult::expert_loads as last reported; empty before the first report.
  int64_t experts = 0;
  std::vector<int64_t> expert_loads;
  // Not OK once the executor has failed: the group is lost, every request was ended with this
  // error.
  absl::Status health;
};

using EventSink = std::function<void(const TokenEvent&)>;

class Engine {
 public:
  Engine(const EngineOptions& options, std::unique_ptr<Executor> executor);
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  ~Engine();

  const EngineOptions& options() const;

  // INVALID_ARGUMENT (empty or oversized prompt, id outside the vocabulary, bad sampling values, a
  // grammar that cannot be enforced: it is compiled here, on the caller's thread),
  // RESOURCE_EXHAUSTED (queue full), ALREADY_EXISTS (id in use), UNAVAILABLE (stopped or lost).
  absl::Status Submit(Request request, EventSink sink);

  // Ends a request with kCancelled within one step; unknown ids are ignored (it may just have
  // ended).
  void Cancel(uint64_t request);

  EngineStatus status() const;

  // What the last steps were (StepLog), oldest first. Any thread, also after a failure.
  std::vector<StepRecord> steps() const;

  // Cancels everything and joins. Idempotent.
  void Stop();

 private:
  class Loop;
  std::unique_ptr<Loop> loop_;
};

}  // namespace trireme
