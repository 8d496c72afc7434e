#include "launcher/batch/batch_job.h"

#include <utility>

#include "runtime/base/mutex.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

// What the engine thread hands to the caller's.
class Inbox {
 public:
  void Put(const TokenEvent& event) {
    MutexLock lock(mutex_);
    events_.push_back(event);
    filled_.NotifyAll();
  }
  // Every event since the last call; waits for one.
  std::vector<TokenEvent> Take() {
    MutexLock lock(mutex_);
    // The engine ends every request within its step deadline, so this ends too.
    while (events_.empty()) filled_.WaitUntil(mutex_, Deadline::Never());
    return std::exchange(events_, {});
  }

 private:
  Mutex mutex_;
  CondVar filled_;
  std::vector<TokenEvent> events_ ABSL_GUARDED_BY(mutex_);
};

void Record(const TokenEvent& event, Completion& completion) {
  if (event.has_token) {
    (event.is_prompt ? completion.prompt_scores : completion.tokens).push_back(event.token);
  }
  completion.finish = event.finish;
  completion.error = event.error;
}

class Batch {
 public:
  Batch(Engine& engine, std::vector<Request> requests, const BatchSink& sink)
      : engine_(engine),
        sink_(sink),
        requests_(std::move(requests)),
        completions_(requests_.size()) {}

  absl::Status Run() {
    while (reported_ < requests_.size()) {
      SubmitMore();
      if (reported_ == requests_.size()) break;
      for (const TokenEvent& event : inbox_.Take()) Apply(event);
    }
    return engine_.status().health;
  }

 private:
  // As many as the engine takes; a refused request is done at once.
  void SubmitMore() {
    while (submitted_ < requests_.size()) {
      Request& request = requests_[submitted_];
      request.id = submitted_ + 1;
      const absl::Status status =
          engine_.Submit(request, [this](const TokenEvent& event) { inbox_.Put(event); });
      const bool full = status.code() == absl::StatusCode::kResourceExhausted;
      if (full && submitted_ > reported_) return;
      if (!status.ok()) {
        completions_[submitted_].finish = FinishReason::kError;
        completions_[submitted_].error = status;
      }
      request.prompt = {};
      ++submitted_;
      ReportDone();
    }
  }

  void Apply(const TokenEvent& event) {
    const size_t index = event.request - 1;
    Record(event, completions_[index]);
    if (index == reported_ && event.has_token && !event.is_prompt) {
      sink_.on_token(index, event.token);
    }
    ReportDone();
  }

  void ReportDone() {
    while (reported_ < submitted_ && completions_[reported_].finish != FinishReason::kNone) {
      sink_.on_done(reported_, completions_[reported_]);
      completions_[reported_] = {};
      ++reported_;
      if (reported_ == completions_.size()) return;
      for (const SampledToken& token : completions_[reported_].tokens) {
        sink_.on_token(reported_, token);
      }
    }
  }

  Engine& engine_;
  const BatchSink& sink_;
  Inbox inbox_;
  std::vector<Request> requests_;
  std::vector<Completion> completions_;
  size_t submitted_ = 0;
  size_t reported_ = 0;
};

}  // namespace

absl::Status RunBatch(Engine& engine, std::vector<Request> requests, const BatchSink& sink) {
  return Batch(engine, std::move(requests), sink).Run();
}

}  // namespace trireme
