#include "launcher/telemetry/request_metrics.h"

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <algorithm>

#include "launcher/load/refusal.h"
#include "launcher/telemetry/metric_table.h"

namespace trireme {
namespace {

using prometheus::Counter;
using prometheus::Family;
using prometheus::Histogram;
using Buckets = Histogram::BucketBoundaries;

// vLLM's, so that dashboards can be read side by side.
Buckets FirstTokenBuckets() {
  return {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1,  0.25,  0.5,   0.75,
          1.0,   2.5,   5.0,  7.5,  10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0};
}
Buckets InterTokenBuckets() {
  return {0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2,  0.3,  0.4, 0.5,
          0.75, 1.0,   2.5,  5.0,   7.5, 10.0, 20.0, 40.0, 80.0};
}
Buckets RequestBuckets() {
  return {0.3,  0.5,  0.8,  1.0,  1.5,   2.0,   2.5,   5.0,   10.0,   15.0,  20.0,
          30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0};
}
// 1, 2, 5, 10, … to ten million: longer than any context.
Buckets TokenBuckets() {
  Buckets buckets;
  for (double power = 1; power <= 1e7; power *= 10) {
    for (const double mantissa : {1.0, 2.0, 5.0}) buckets.push_back(mantissa * power);
  }
  return buckets;
}

double Seconds(std::chrono::nanoseconds duration) {
  return std::chrono::duration<double>(duration).count();
}
double SecondsOfMs(int64_t ms) { return static_cast<double>(ms) / 1e3; }

std::string_view FinishLabel(FinishReason finish) {
  switch (finish) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kCancelled:
      return "abort";
    default:
      return "error";
  }
}

}  // namespace

bool IsMetricPrefix(std::string_view prefix) {
  const auto letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
  };
  return !prefix.empty() && letter(prefix.front()) &&
         std::ranges::all_of(prefix, [&](char c) { return letter(c) || (c >= '0' && c <= '9'); });
}

std::string FullName(const MetricOptions& options, std::string_view name) {
  return options.prefix + ":" + std::string(name);
}

std::string_view RefusalLabel(const absl::Status& status) {
  if (const auto reason = ReasonOf(status)) return NameOf(*reason);
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
      return "invalid";
    case absl::StatusCode::kAlreadyExists:
      return "duplicate";
    case absl::StatusCode::kNotFound:
      return "not_found";
    case absl::StatusCode::kDeadlineExceeded:
      return "deadline";
    case absl::StatusCode::kUnauthenticated:
      return "unauthenticated";
    case absl::StatusCode::kPermissionDenied:
      return "permission_denied";
    default:
      return "other";
  }
}

struct RequestMetrics::Series {
  explicit Series(const MetricOptions& options)
      : labels{{"model_name", options.model_name}},
        refused(CounterFamily(options, metric::kRefused)),
        success(CounterFamily(options, metric::kSuccess)),
        first_token(Add(options, metric::kFirstToken, FirstTokenBuckets())),
        inter_token(Add(options, metric::kInterToken, InterTokenBuckets())),
        queue_time(Add(options, metric::kQueueTime, RequestBuckets())),
        prefill_time(Add(options, metric::kPrefillTime, RequestBuckets())),
        end_to_end(Add(options, metric::kEndToEnd, RequestBuckets())),
        prompt_size(Add(options, metric::kPromptSize, TokenBuckets())),
        generation_size(Add(options, metric::kGenerationSize, TokenBuckets())),
        prompt_tokens(CounterFamily(options, metric::kPromptTokens).Add({})),
        generation_tokens(CounterFamily(options, metric::kGenerationTokens).Add({})),
        replayed(CounterFamily(options, metric::kReplayed).Add({})),
        groups_lost(CounterFamily(options, metric::kGroupsLost).Add({})) {
    // There from the start, at zero: a rate over a series that appears with its first event misses
    // that event.
    for (const FinishReason finish : {FinishReason::kStop, FinishReason::kLength,
                                      FinishReason::kCancelled, FinishReason::kError}) {
      success.Add({{"finished_reason", std::string(FinishLabel(finish))}});
    }
    for (const RefusalReason reason : kRefusalReasons) {
      refused.Add({{"reason", std::string(NameOf(reason))}});
    }
  }

  Family<Counter>& CounterFamily(const MetricOptions& options, const MetricSpec& spec) {
    return prometheus::BuildCounter()
        .Name(FullName(options, spec.name))
        .Help(spec.help)
        .Labels(labels)
        .Register(registry);
  }
  Histogram& Add(const MetricOptions& options, const MetricSpec& spec, const Buckets& buckets) {
    return prometheus::BuildHistogram()
        .Name(FullName(options, spec.name))
        .Help(spec.help)
        .Labels(labels)
        .Register(registry)
        .Add({}, buckets);
  }

  prometheus::Registry registry;
  const prometheus::Labels labels;
  Family<Counter>& refused;
  Family<Counter>& success;
  Histogram& first_token;
  Histogram& inter_token;
  Histogram& queue_time;
  Histogram& prefill_time;
  Histogram& end_to_end;
  Histogram& prompt_size;
  Histogram& generation_size;
  Counter& prompt_tokens;
  Counter& generation_tokens;
  Counter& replayed;
  Counter& groups_lost;
};

RequestMetrics::RequestMetrics(MetricOptions options)
    : options_(std::move(options)), series_(std::make_unique<Series>(options_)) {}

RequestMetrics::~RequestMetrics() = default;

void RequestMetrics::OnRefused(const absl::Status& status) {
  series_->refused.Add({{"reason", std::string(RefusalLabel(status))}}).Increment();
}

void RequestMetrics::OnFirstToken(const RequestRecord& record) {
  series_->first_token.Observe(Seconds(record.to_first_token));
  series_->queue_time.Observe(SecondsOfMs(record.beginning.queued_ms));
  series_->prefill_time.Observe(SecondsOfMs(record.beginning.prefill_ms));
  series_->generation_tokens.Increment();
  if (record.choice != 0) return;
  series_->prompt_tokens.Increment(static_cast<double>(record.prompt_tokens));
}

void RequestMetrics::OnNextToken(std::chrono::nanoseconds after_the_last) {
  series_->inter_token.Observe(Seconds(after_the_last));
  series_->generation_tokens.Increment();
}

void RequestMetrics::OnEnd(const RequestRecord& record) {
  series_->success.Add({{"finished_reason", std::string(FinishLabel(record.finish))}}).Increment();
  series_->end_to_end.Observe(Seconds(record.to_end));
  series_->generation_size.Observe(static_cast<double>(record.completion_tokens));
  if (record.choice == 0) {
    series_->prompt_size.Observe(static_cast<double>(record.prompt_tokens));
  }
  if (ReasonOf(record.error) == RefusalReason::kSlowReader) OnRefused(record.error);
}

void RequestMetrics::OnReplay() { series_->replayed.Increment(); }

void RequestMetrics::OnGroupLost() { series_->groups_lost.Increment(); }

std::vector<prometheus::MetricFamily> RequestMetrics::Collect() const {
  return series_->registry.Collect();
}

}  // namespace trireme
