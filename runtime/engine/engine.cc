#include "runtime/engine/engine.h"

#include <pthread.h>

#include <algorithm>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_format.h"
#include "runtime/base/log.h"
#include "runtime/base/mutex.h"
#include "runtime/base/status_macros.h"
#include "runtime/engine/scheduler.h"
#include "runtime/sampling/sampler.h"

namespace trireme {
namespace {

absl::Status CheckTokens(const std::vector<int32_t>& tokens, std::string_view what,
                         int64_t vocabulary) {
  for (const int32_t token : tokens) {
    if (token < 0 || token >= vocabulary) {
      return absl::InvalidArgumentError(
          absl::StrFormat("%s holds token id %d; ids must be in [0, %d)", what, token, vocabulary));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckRequest(const Request& request, const EngineOptions& options) {
  const auto prompt = static_cast<int64_t>(request.prompt.size());
  if (prompt == 0)
    return absl::InvalidArgumentError("the prompt is empty; give at least one token");
  if (request.max_tokens < 1) {
    return absl::InvalidArgumentError(
        absl::StrFormat("max_tokens must be at least 1; got %d", request.max_tokens));
  }
  const int64_t positions = prompt + request.max_tokens - 1;
  if (positions > options.max_positions) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "the prompt (%d tokens) and max_tokens (%d) exceed the context of %d positions", prompt,
        request.max_tokens, options.max_positions));
  }
  const int64_t kv_positions = KvPositions(options);
  if (positions > kv_positions) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "the prompt (%d tokens) and max_tokens (%d) exceed the KV cache of %d positions", prompt,
        request.max_tokens, kv_positions));
  }
  TRI_RETURN_IF_ERROR(CheckTokens(request.prompt, "the prompt", options.vocabulary));
  TRI_RETURN_IF_ERROR(CheckTokens(request.stop_tokens, "stop_tokens", options.vocabulary));
  if (request.num_logprobs < -1 || request.num_logprobs > options.vocabulary) {
    return absl::InvalidArgumentError(absl::StrFormat("logprobs must be in [0, %d]; got %d",
                                                      options.vocabulary, request.num_logprobs));
  }
  return ValidateSamplingParams(request.sampling);
}

}  // namespace

// With room for a whole chunk, chunked layers set no limit.
int64_t KvPositions(const EngineOptions& options) {
  const int64_t positions = options.pages * options.page_tokens;
  const int64_t of_chunk = options.chunk_pages * options.page_tokens;
  return of_chunk < options.chunk ? std::min(positions, of_chunk) : positions;
}

// The state that the `engine` thread and its callers share.
class Engine::Loop {
 public:
  Loop(const EngineOptions& options, std::unique_ptr<Executor> executor)
      : options_(options),
        executor_(std::move(executor)),
        scheduler_({.pages = options.pages,
                    .chunk = options.chunk,
                    .chunk_pages = options.chunk_pages,
                    .page_tokens = options.page_tokens,
                    .max_sequences = options.max_sequences,
                    .max_step_tokens = options.max_step_tokens}) {
    status_.pages = status_.free_pages = options.pages;
    status_.experts = options.experts;
    thread_ = std::thread([this] {
      pthread_setname_np(pthread_self(), "engine");
      Run();
    });
  }

  ~Loop() { Stop(); }

  const EngineOptions& options() const { return options_; }

  absl::Status Submit(Request request, EventSink sink) ABSL_LOCKS_EXCLUDED(mutex_) {
    TRI_RETURN_IF_ERROR(CheckRequest(request, options_));
    MutexLock lock(mutex_);
    if (!status_.health.ok()) {
      return absl::UnavailableError(
          absl::StrFormat("the group is lost: %s", std::string(status_.health.message())));
    }
    if (stopping_) return absl::UnavailableError("the engine is stopping");
    if (static_cast<int64_t>(sinks_.size()) >= options_.max_sequences + options_.max_waiting) {
      return absl::ResourceExhaustedError(
          absl::StrFormat("%d requests are running or queued; try again later", sinks_.size()));
    }
    const uint64_t id = request.id;
    if (!sinks_.emplace(id, std::move(sink)).second) {
      return absl::AlreadyExistsError(absl::StrFormat("request %d is already here", id));
    }
    arrivals_.push_back(std::move(request));
    changed_.NotifyAll();
    return absl::OkStatus();
  }

  void Cancel(uint64_t request) ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(mutex_);
    if (!sinks_.contains(request)) return;
    cancels_.push_back(request);
    changed_.NotifyAll();
  }

  EngineStatus status() const ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(mutex_);
    return status_;
  }

  void Stop() ABSL_LOCKS_EXCLUDED(mutex_) {
    {
      MutexLock lock(mutex_);
      stopping_ = true;
      changed_.NotifyAll();
    }
    if (thread_.joinable()) thread_.join();
  }

 private:
  void Run() {
    while (TakeEvents()) {
      std::optional<StepPlan> plan = scheduler_.Next();
      if (!plan) continue;
      plan->report_loads = options_.experts > 0 && steps_since_idle_ % kStepsBetweenLoads == 0;
      ++steps_since_idle_;
      absl::StatusOr<StepResult> result = RunStep(*plan);
      if (result.ok() && plan->report_loads) KeepLoads(std::move(result->expert_loads));
      Deliver(result.ok() ? scheduler_.Complete(*result) : Lose(result.status()));
      Publish();
    }
    Deliver(scheduler_.Fail(absl::CancelledError("the engine is stopping")));
    Publish();
  }

  absl::StatusOr<StepResult> RunStep(const StepPlan& plan) {
    TRI_RETURN_IF_ERROR(executor_->Submit(plan));
    return executor_->Await(Deadline::AfterMs(options_.step_timeout_ms));
  }

  std::vector<TokenEvent> Lose(const absl::Status& error) ABSL_LOCKS_EXCLUDED(mutex_) {
    LogError("step failed; the group is lost", {{"error", error.ToString()}});
    MutexLock lock(mutex_);
    status_.health = error;
    // Arrived between the step and its failure.
    for (Request& request : arrivals_) scheduler_.Add(std::move(request));
    arrivals_.clear();
    return scheduler_.Fail(absl::UnavailableError(
        absl::StrFormat("the group was lost: %s", std::string(error.message()))));
  }

  // Waits until there is something to do and moves arrivals and cancellations into the scheduler.
  // False when the engine is to end.
  bool TakeEvents() ABSL_LOCKS_EXCLUDED(mutex_) {
    std::vector<Request> arrivals;
    std::vector<uint64_t> cancels;
    bool stopping = false;
    {
      MutexLock lock(mutex_);
      const bool busy = scheduler_.running() > 0 || scheduler_.waiting() > 0;
      if (!busy) steps_since_idle_ = 0;
      while (!busy && !stopping_ && arrivals_.empty() && cancels_.empty()) {
        changed_.WaitUntil(mutex_, Deadline::Never());
      }
      arrivals.swap(arrivals_);
      cancels.swap(cancels_);
      stopping = stopping_;
    }
    for (Request& request : arrivals) scheduler_.Add(std::move(request));
    std::vector<TokenEvent> ends;
    for (const uint64_t id : cancels) {
      if (auto end = scheduler_.Cancel(id)) ends.push_back(*std::move(end));
    }
    Deliver(std::move(ends));
    Publish();
    return !stopping;
  }

  void Deliver(std::vector<TokenEvent> events) ABSL_LOCKS_EXCLUDED(mutex_) {
    for (const TokenEvent& event : events) {
      EventSink sink;
      {
        MutexLock lock(mutex_);
        const auto found = sinks_.find(event.request);
        if (found == sinks_.end()) continue;
        if (event.finish == FinishReason::kNone) {
          sink = found->second;
        } else {
          sink = std::move(found->second);
          sinks_.erase(found);
        }
      }
      sink(event);
    }
  }

  void KeepLoads(std::vector<int64_t> loads) ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(mutex_);
    status_.expert_loads = std::move(loads);
  }

  void Publish() ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(mutex_);
    status_.running = scheduler_.running();
    status_.waiting = scheduler_.waiting() + static_cast<int64_t>(arrivals_.size());
    status_.free_pages = scheduler_.free_pages();
    status_.steps = scheduler_.steps();
  }

  const EngineOptions options_;
  const std::unique_ptr<Executor> executor_;  // engine thread only
  Scheduler scheduler_;                       // engine thread only
  uint64_t steps_since_idle_ = 0;             // engine thread only
  mutable Mutex mutex_;
  CondVar changed_;  // an arrival, a cancellation, or stopping_
  std::vector<Request> arrivals_ ABSL_GUARDED_BY(mutex_);
  std::vector<uint64_t> cancels_ ABSL_GUARDED_BY(mutex_);
  std::unordered_map<uint64_t, EventSink> sinks_ ABSL_GUARDED_BY(mutex_);
  EngineStatus status_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

Engine::Engine(const EngineOptions& options, std::unique_ptr<Executor> executor)
    : loop_(std::make_unique<Loop>(options, std::move(executor))) {}

Engine::~Engine() = default;

const EngineOptions& Engine::options() const { return loop_->options(); }

absl::Status Engine::Submit(Request request, EventSink sink) {
  return loop_->Submit(std::move(request), std::move(sink));
}

void Engine::Cancel(uint64_t request) { loop_->Cancel(request); }

EngineStatus Engine::status() const { return loop_->status(); }

void Engine::Stop() { loop_->Stop(); }

}  // namespace trireme
