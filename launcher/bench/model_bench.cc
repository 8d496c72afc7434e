#include "launcher/bench/model_bench.h"

#include <algorithm>
#include <random>
#include <utility>

#include "runtime/base/deadline.h"
#include "runtime/base/mutex.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

// Of a whole case; what goes wrong in a step has the engine's own, shorter deadline.
constexpr int64_t kCaseMs = 600'000;

struct TimedToken {
  int64_t ns = 0;
  size_t sequence = 0;
};

// When the tokens of a case came. Filled on the engine's thread, read when all sequences ended.
class Arrivals {
 public:
  explicit Arrivals(size_t sequences) : running_(sequences) {}

  void Note(size_t sequence, const TokenEvent& event) {
    const int64_t now = MonotonicNs();
    MutexLock lock(mutex_);
    if (event.has_token) tokens_.push_back({now, sequence});
    if (event.finish == FinishReason::kNone) return;
    error_.Update(event.error);
    if (first_end_ == 0) first_end_ = now;
    if (--running_ == 0) ended_.NotifyAll();
  }

  absl::Status Wait() {
    const Deadline deadline = Deadline::AfterMs(kCaseMs);
    MutexLock lock(mutex_);
    while (running_ > 0) {
      if (!ended_.WaitUntil(mutex_, deadline) && running_ > 0) {
        return absl::DeadlineExceededError("a measured batch did not end in ten minutes");
      }
    }
    return error_;
  }

  int64_t first_token_ns() {
    MutexLock lock(mutex_);
    return tokens_.empty() ? 0 : tokens_.front().ns;
  }

  // Tokens a second while all sequences decode; 0 when they never did together.
  double SharedRate(size_t sequences) {
    MutexLock lock(mutex_);
    std::vector<bool> begun(sequences);
    size_t left = sequences;
    int64_t begin = 0;
    double counted = 0;
    for (const TimedToken& token : tokens_) {
      if (left > 0) {
        if (!begun[token.sequence]) --left;
        begun[token.sequence] = true;
        begin = token.ns;
      } else if (token.ns <= first_end_) {
        ++counted;
      }
    }
    if (left > 0 || first_end_ <= begin) return 0;
    return counted / (static_cast<double>(first_end_ - begin) * 1e-9);
  }

 private:
  Mutex mutex_;
  CondVar ended_;
  std::vector<TimedToken> tokens_ ABSL_GUARDED_BY(mutex_);
  size_t running_ ABSL_GUARDED_BY(mutex_);
  int64_t first_end_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status error_ ABSL_GUARDED_BY(mutex_);
};

// The first sequences decode while the last still read.
int64_t Lead(int64_t batch, int64_t context, int64_t max_step_tokens) {
  return (batch * context + max_step_tokens - 1) / max_step_tokens + batch;
}

class Bench {
 public:
  explicit Bench(Engine& engine) : engine_(engine) {}

  absl::StatusOr<double> Measure(const ModelBenchRow& row, int64_t tokens) {
    const bool prefill = row.what == "prefill";
    const int64_t lead = Lead(row.batch, row.context, engine_.options().max_step_tokens);
    const auto sequences = static_cast<size_t>(row.batch);
    Arrivals arrivals(sequences);
    const int64_t begin = MonotonicNs();
    absl::Status status;
    size_t submitted = 0;
    for (; submitted < sequences && status.ok(); ++submitted) {
      Request request;
      request.id = ++last_id_;
      request.prompt = DrawPrompt(row.context);
      request.max_tokens = static_cast<int32_t>(prefill ? 1 : tokens + lead);
      status = engine_.Submit(std::move(request), [&arrivals, submitted](const TokenEvent& event) {
        arrivals.Note(submitted, event);
      });
    }
    if (status.ok()) status = arrivals.Wait();
    if (!status.ok()) {
      // Events of those that still run must not find the arrivals gone.
      engine_.Stop();
      return status;
    }
    if (!prefill) return arrivals.SharedRate(sequences);
    const double seconds = static_cast<double>(arrivals.first_token_ns() - begin) * 1e-9;
    return static_cast<double>(row.context) / seconds;
  }

 private:
  std::vector<int32_t> DrawPrompt(int64_t tokens) {
    std::uniform_int_distribution<int32_t> draw(
        0, static_cast<int32_t>(engine_.options().vocabulary - 1));
    std::vector<int32_t> prompt(static_cast<size_t>(tokens));
    std::ranges::generate(prompt, [&] { return draw(random_); });
    return prompt;
  }

  Engine& engine_;
  std::minstd_rand random_{1};
  uint64_t last_id_ = 0;
};

}  // namespace

ModelBenchNeed NeedOf(const ModelBenchOptions& options, int64_t max_step_tokens,
                      int64_t page_tokens) {
  const auto rounded = [&](int64_t positions) {
    return (positions + page_tokens - 1) / page_tokens * page_tokens;
  };
  ModelBenchNeed need;
  for (const int64_t prompt : options.prompts) {
    need.positions = std::max(need.positions, rounded(prompt + 1));
  }
  need.kv_positions = need.positions;
  for (const int64_t batch : options.batches) {
    for (const int64_t context : options.contexts) {
      const int64_t each =
          rounded(context + options.tokens + Lead(batch, context, max_step_tokens));
      need.positions = std::max(need.positions, each);
      need.kv_positions = std::max(need.kv_positions, batch * each);
    }
  }
  return need;
}

absl::StatusOr<std::vector<ModelBenchRow>> BenchModel(Engine& engine,
                                                      const ModelBenchOptions& options) {
  std::vector<ModelBenchRow> rows;
  for (const int64_t prompt : options.prompts) {
    rows.push_back({.what = "prefill", .batch = 1, .context = prompt});
  }
  for (const int64_t context : options.contexts) {
    for (const int64_t batch : options.batches) {
      rows.push_back({.what = "decode", .batch = batch, .context = context});
    }
  }
  Bench bench(engine);
  constexpr int64_t kWarmUpTokens = 4;
  for (const ModelBenchRow& row : rows) {
    TRI_RETURN_IF_ERROR(bench.Measure(row, std::min(kWarmUpTokens, options.tokens)).status());
  }
  for (int repetition = 0; repetition < options.repetitions; ++repetition) {
    for (ModelBenchRow& row : rows) {
      TRI_ASSIGN_OR_RETURN(const double rate, bench.Measure(row, options.tokens));
      row.tokens_per_second.push_back(rate);
    }
  }
  return rows;
}

}  // namespace trireme
