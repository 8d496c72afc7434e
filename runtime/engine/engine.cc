#include "runtime/engine/engine.h"

#include <pthread.h>

#include <algorithm>
#include <deque>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_format.h"
#include "runtime/base/check.h"
#include "runtime/base/deadline.h"
#include "runtime/base/log.h"
#include "runtime/base/mutex.h"
#include "runtime/base/status_macros.h"
#include "runtime/engine/mask_maker.h"
#include "runtime/engine/request_check.h"
#include "runtime/engine/scheduler.h"

namespace trireme {
namespace {

SchedulerLimits LimitsOf(const EngineOptions& options, int depth) {
  return {.pages = options.pages,
          .chunk = options.chunk,
          .chunk_pages = options.chunk_pages,
          .page_tokens = options.page_tokens,
          .max_sequences = options.max_sequences,
          .max_step_tokens = options.max_step_tokens,
          .depth = depth,
          .prefix_cache = options.prefix_cache,
          .isolate_tenants = options.isolate_tenants,
          .speculative_tokens = options.speculative_tokens,
          .ageing_ms = options.ageing_ms,
          .tenant_quantum = options.tenant_quantum,
          .tokenizer = options.tokenizer};
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
        clock_(options.clock == nullptr ? &steady_clock_ : options.clock),
        scheduler_(LimitsOf(options, executor_->depth())) {
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
    std::shared_ptr<const CompiledGrammar> grammar;
    if (request.grammar.constrained()) {
      TRI_ASSIGN_OR_RETURN(grammar, options_.grammars->Compile(request.grammar));
      TRI_CHECK_EQ(grammar->vocab_size(), options_.vocabulary);
    }
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
    arrivals_.push_back({std::move(request), std::move(grammar)});
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

  std::vector<StepRecord> steps() const ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(mutex_);
    return log_.Records();
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
  struct Arrival {
    Request request;
    std::shared_ptr<const CompiledGrammar> grammar;
  };

  void Run() {
    while (TakeEvents()) {
      absl::Status status = SubmitPlans();
      if (status.ok() && in_flight_ > 0) status = TakeResult();
      if (!status.ok()) Deliver(Lose(status));
      Publish();
    }
    // The executor is to be left with nothing to do.
    while (in_flight_ > 0 && executor_->Await(StepDeadline()).ok()) --in_flight_;
    Deliver(scheduler_.Fail(absl::CancelledError("the engine is stopping")));
    Publish();
  }

  // As many plans as the executor takes, so that none of its stages waits for another's result.
  absl::Status SubmitPlans() {
    while (in_flight_ < executor_->depth()) {
      const int64_t planning_ns = MonotonicNs();
      StepRecord record{.planning_ns = planning_ns};
      std::optional<StepPlan> plan = scheduler_.Next();
      if (!plan) break;
      record.planned_ns = MonotonicNs();
      plan->report_loads = options_.experts > 0 && steps_since_idle_ % kStepsBetweenLoads == 0;
      ++steps_since_idle_;
      plan->masks.resize(scheduler_.grammars().size() *
                         static_cast<size_t>(MaskWords(options_.vocabulary)));
      masks_.Start(scheduler_.grammars(), plan->masks);
      const absl::Status submitted = executor_->Submit(*plan, [this] { masks_.Wait(); });
      masks_.Wait();  // also where the step failed before it came to them
      Keep(*plan, std::move(record));
      TRI_RETURN_IF_ERROR(submitted);
      ++in_flight_;
      planned_ns_.push_back(planning_ns);
    }
    return absl::OkStatus();
  }

  void AddTimes(const StepResult& result, int64_t result_ns) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const int64_t begin_ns = std::max(planned_ns_.front(), last_result_ns_);
    planned_ns_.pop_front();
    last_result_ns_ = result_ns;
    status_.step_times.step_us += (result_ns - begin_ns) / 1000;
    for (const StageTime& stage : result.stage_times) {
      status_.step_times.compute_us += stage.compute_us;
      status_.step_times.wait_us += stage.wait_us;
    }
  }

  absl::Status TakeResult() {
    StepRecord times{.awaited_ns = MonotonicNs()};
    TRI_ASSIGN_OR_RETURN(StepResult result, executor_->Await(StepDeadline()));
    times.result_ns = MonotonicNs();
    --in_flight_;
    if (!result.expert_loads.empty()) KeepLoads(std::move(result.expert_loads));
    Deliver(scheduler_.Complete(result, clock_->NowMs()));
    times.completed_ns = MonotonicNs();
    MutexLock lock(mutex_);
    AddTimes(result, times.result_ns);
    log_.Completed(result, times);
    return absl::OkStatus();
  }

  Deadline StepDeadline() const { return Deadline::AfterMs(options_.step_timeout_ms); }

  std::vector<TokenEvent> Lose(const absl::Status& error) ABSL_LOCKS_EXCLUDED(mutex_) {
    LogError("step failed; the group is lost", {{"error", error.ToString()}});
    in_flight_ = 0;
    planned_ns_.clear();
    MutexLock lock(mutex_);
    status_.health = error;
    // Arrived between the step and its failure.
    AddAll(std::exchange(arrivals_, {}), clock_->NowMs());
    return scheduler_.Fail(absl::UnavailableError(
        absl::StrFormat("the group was lost: %s", std::string(error.message()))));
  }

  void AddAll(std::vector<Arrival> arrivals, int64_t now_ms) {
    for (Arrival& arrival : arrivals) {
      scheduler_.Add(std::move(arrival.request), now_ms, std::move(arrival.grammar));
    }
  }

  // Waits until there is something to do and moves arrivals and cancellations into the scheduler.
  // False when the engine is to end.
  bool TakeEvents() ABSL_LOCKS_EXCLUDED(mutex_) {
    std::vector<Arrival> arrivals;
    std::vector<uint64_t> cancels;
    bool stopping = false;
    {
      MutexLock lock(mutex_);
      const bool busy = !scheduler_.idle() || in_flight_ > 0;
      if (!busy) steps_since_idle_ = 0;
      while (!busy && !stopping_ && arrivals_.empty() && cancels_.empty()) {
        changed_.WaitUntil(mutex_, Deadline::Never());
      }
      arrivals.swap(arrivals_);
      cancels.swap(cancels_);
      stopping = stopping_;
    }
    const int64_t now_ms = clock_->NowMs();
    AddAll(std::move(arrivals), now_ms);
    std::vector<TokenEvent> ends = scheduler_.Expire(now_ms);
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

  void Keep(const StepPlan& plan, StepRecord times) ABSL_LOCKS_EXCLUDED(mutex_) {
    StepRecord record = RecordOf(plan);
    record.load = {.running = scheduler_.running(),
                   .waiting = scheduler_.waiting(),
                   .free_pages = scheduler_.free_pages(),
                   .cached_pages = scheduler_.cached_pages()};
    record.planning_ns = times.planning_ns;
    record.planned_ns = times.planned_ns;
    record.submitted_ns = MonotonicNs();
    MutexLock lock(mutex_);
    log_.Submitted(std::move(record));
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
    status_.cached_pages = scheduler_.cached_pages();
    status_.steps = scheduler_.steps();
    status_.counters = scheduler_.counters();
  }

  const EngineOptions options_;
  const std::unique_ptr<Executor> executor_;  // engine thread only
  const SteadyClock steady_clock_;
  const Clock* const clock_;
  Scheduler scheduler_;             // engine thread only
  int in_flight_ = 0;               // engine thread only: plans submitted and not yet awaited
  uint64_t steps_since_idle_ = 0;   // engine thread only
  std::deque<int64_t> planned_ns_;  // engine thread only: of plans in flight
  int64_t last_result_ns_ = 0;      // engine thread only
  MaskMaker masks_;                 // engine thread only
  mutable Mutex mutex_;
  CondVar changed_;  // an arrival, a cancellation, or stopping_
  std::vector<Arrival> arrivals_ ABSL_GUARDED_BY(mutex_);
  std::vector<uint64_t> cancels_ ABSL_GUARDED_BY(mutex_);
  std::unordered_map<uint64_t, EventSink> sinks_ ABSL_GUARDED_BY(mutex_);
  EngineStatus status_ ABSL_GUARDED_BY(mutex_);
  StepLog log_ ABSL_GUARDED_BY(mutex_);
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

std::vector<StepRecord> Engine::steps() const { return loop_->steps(); }

void Engine::Stop() { loop_->Stop(); }

}  // namespace trireme
