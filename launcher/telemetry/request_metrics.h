// What happens to requests, counted as Prometheus wants it. What the groups' engines say is added
// when somebody asks (report/metrics_page.h). The metrics themselves are described in
// metric_table.h.
//
// Threads: any; each call costs well under a microsecond.
#pragma once

#include <prometheus/metric_family.h>

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "launcher/telemetry/request_record.h"

namespace trireme {

struct MetricOptions {
  std::string prefix = "trireme";  // letters and '_'; `vllm` makes dashboards for vLLM work
  std::string model_name;
};

class RequestMetrics {
 public:
  explicit RequestMetrics(MetricOptions options);
  ~RequestMetrics();

  const MetricOptions& options() const { return options_; }

  // At the door. Not for errors of accepted requests, but for slow readers.
  void OnRefused(const absl::Status& status);
  void OnFirstToken(const RequestRecord& record);
  void OnNextToken(std::chrono::nanoseconds after_the_last);
  void OnEnd(const RequestRecord& record);
  void OnReplay();
  void OnGroupLost();

  std::vector<prometheus::MetricFamily> Collect() const;

 private:
  struct Series;

  const MetricOptions options_;
  const std::unique_ptr<Series> series_;
};

// Letters, digits and '_', not beginning with a digit.
bool IsMetricPrefix(std::string_view prefix);

// "trireme:steps_total".
std::string FullName(const MetricOptions& options, std::string_view name);

// The word under which a refusal is counted.
std::string_view RefusalLabel(const absl::Status& status);

}  // namespace trireme
