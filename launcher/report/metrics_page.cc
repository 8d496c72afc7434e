#include "launcher/report/metrics_page.h"

#include <prometheus/text_serializer.h>

#include <sstream>
#include <utility>
#include <vector>

#include "launcher/telemetry/metric_table.h"

namespace trireme {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;

double Seconds(int64_t us) { return static_cast<double>(us) / 1e6; }

double KvUsage(const GroupSnapshot& group) {
  const v1::EngineCounters& counters = group.counters;
  if (counters.pages() == 0) return 0;
  return 1 - static_cast<double>(counters.free_pages()) / static_cast<double>(counters.pages());
}

// A figure of each group: what it is, and where it is.
struct GroupFigure {
  MetricSpec spec;
  double (*value)(const GroupSnapshot& group);
};

constexpr GroupFigure kGroupFigures[] = {
    {metric::kRunning, [](const GroupSnapshot& g) { return static_cast<double>(g.running); }},
    {metric::kWaiting, [](const GroupSnapshot& g) { return static_cast<double>(g.waiting); }},
    {metric::kKvUsage, KvUsage},
    {metric::kPrefixQueries,
     [](const GroupSnapshot& g) {
       return static_cast<double>(g.counters.prefix_queried_tokens());
     }},
    {metric::kPrefixHits,
     [](const GroupSnapshot& g) { return static_cast<double>(g.counters.prefix_hit_tokens()); }},
    {metric::kPreemptions,
     [](const GroupSnapshot& g) { return static_cast<double>(g.counters.preemptions()); }},
    {metric::kGroupReady, [](const GroupSnapshot& g) { return g.ready ? 1.0 : 0.0; }},
    {metric::kGroupIncarnation,
     [](const GroupSnapshot& g) { return static_cast<double>(g.incarnation); }},
    {metric::kGroupRanks, [](const GroupSnapshot& g) { return static_cast<double>(g.ranks); }},
    {metric::kSteps, [](const GroupSnapshot& g) { return static_cast<double>(g.steps); }},
    {metric::kStepSeconds, [](const GroupSnapshot& g) { return Seconds(g.counters.step_us()); }},
    {metric::kStageCompute,
     [](const GroupSnapshot& g) { return Seconds(g.counters.stage_compute_us()); }},
    {metric::kStageWait,
     [](const GroupSnapshot& g) { return Seconds(g.counters.stage_wait_us()); }},
    {metric::kDrafted,
     [](const GroupSnapshot& g) { return static_cast<double>(g.counters.drafted_tokens()); }},
    {metric::kDraftsAccepted,
     [](const GroupSnapshot& g) { return static_cast<double>(g.counters.accepted_tokens()); }},
};

class Page {
 public:
  explicit Page(const MetricOptions& options) : options_(options) {}

  MetricFamily& Family(const MetricSpec& spec) {
    MetricFamily& family = families_.emplace_back();
    family.name = FullName(options_, spec.name);
    family.help = spec.help;
    family.type = spec.type;
    return family;
  }
  ClientMetric& Add(MetricFamily& family, double value) const {
    ClientMetric& one = family.metric.emplace_back();
    one.label.push_back({"model_name", options_.model_name});
    (family.type == prometheus::MetricType::Counter ? one.counter.value : one.gauge.value) = value;
    return one;
  }
  void AddExperts(const GroupSnapshot& group, MetricFamily& family) const {
    for (const v1::HotExpert& expert : group.hottest_experts) {
      if (expert.layer_tokens() <= 0) continue;
      ClientMetric& one = Add(family, static_cast<double>(expert.tokens()) /
                                          static_cast<double>(expert.layer_tokens()));
      one.label.push_back({"engine", group.name});
      one.label.push_back({"layer", std::to_string(expert.layer())});
      one.label.push_back({"expert", std::to_string(expert.expert())});
    }
  }
  std::vector<MetricFamily> Take() { return std::move(families_); }

 private:
  const MetricOptions& options_;
  std::vector<MetricFamily> families_;
};

}  // namespace

std::string MetricsPage(const Dispatcher& dispatcher) {
  const RequestMetrics& metrics = dispatcher.metrics();
  const std::vector<GroupSnapshot> groups = dispatcher.Groups();
  Page page(metrics.options());
  for (const GroupFigure& figure : kGroupFigures) {
    MetricFamily& family = page.Family(figure.spec);
    for (const GroupSnapshot& group : groups) {
      page.Add(family, figure.value(group)).label.push_back({"engine", group.name});
    }
  }
  page.Add(page.Family(metric::kHeld), static_cast<double>(dispatcher.requests()));
  MetricFamily& experts = page.Family(metric::kExpertLoad);
  for (const GroupSnapshot& group : groups) page.AddExperts(group, experts);
  std::ostringstream text;
  const prometheus::TextSerializer serializer;
  serializer.Serialize(text, metrics.Collect());
  serializer.Serialize(text, page.Take());
  return text.str();
}

}  // namespace trireme
