#include "launcher/planner/plan_report.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "absl/strings/str_format.h"

namespace trireme {
namespace {

using nlohmann::ordered_json;

constexpr double kGiga = 1e9;

double Gigabytes(int64_t bytes) { return static_cast<double>(bytes) / kGiga; }

std::string Size(int64_t bytes) {
  const double giga = Gigabytes(bytes);
  return giga >= 100 ? absl::StrFormat("%.0f", giga)
                     : absl::StrFormat("%.*f", giga >= 10 ? 1 : 3, giga);
}

std::string Time(double seconds) {
  const double ms = seconds * 1e3;
  if (ms >= 10'000) return absl::StrFormat("%.1f s", seconds);
  return absl::StrFormat("%.*f ms", ms >= 100 ? 0 : ms >= 10 ? 1 : 2, ms);
}

std::string Price(double per_million) {
  return per_million > 0 ? absl::StrFormat("%.*f", per_million >= 100 ? 0 : 2, per_million) : "-";
}

std::string Verdict(const MeshPlan& plan) {
  if (!plan.fits) return "no room";
  return plan.takes_turns ? "yes, in turns" : "yes";
}

std::string TableRow(const MeshPlan& plan) {
  const RankMemory& rank = plan.ranks[plan.tightest_rank()];
  const std::string mesh =
      absl::StrFormat("%d x %d x %d", plan.mesh.pp, plan.mesh.ep, plan.mesh.tp);
  return absl::StrFormat("%-13s %5d %8s %8s %8s %9d %10s %10s %9.1f %8s %s\n", mesh,
                         plan.mesh.ranks(), Size(rank.plan.weights), Size(rank.plan.kv),
                         Size(rank.plan.scratch + rank.process), plan.longest_context,
                         Time(plan.prefill.total()), Time(plan.decode.total()),
                         plan.tokens_per_second(), Price(plan.price_per_million),
                         Verdict(plan) == "yes" ? "" : Verdict(plan));
}

std::string Breakdown(const StepSeconds& step) {
  return absl::StrFormat(
      "weights %s, attention %s, activations %s, collectives %s, hops %s, bookkeeping %s",
      Time(step.weights), Time(step.attention), Time(step.activations), Time(step.collectives),
      Time(step.hops), Time(step.step));
}

ordered_json JsonOf(const StepSeconds& step) {
  return {{"total_s", step.total()},
          {"weights_s", step.weights},
          {"attention_s", step.attention},
          {"activations_s", step.activations},
          {"collectives_s", step.collectives},
          {"hops_s", step.hops},
          {"step_s", step.step}};
}

ordered_json JsonOf(const MeshPlan& plan) {
  ordered_json ranks = ordered_json::array();
  for (size_t i = 0; i < plan.ranks.size(); ++i) {
    const RankMemory& rank = plan.ranks[i];
    ranks.push_back({{"rank", i},
                     {"node", rank.node},
                     {"weights_bytes", rank.plan.weights},
                     {"kv_bytes", rank.plan.kv},
                     {"scratch_bytes", rank.plan.scratch},
                     {"process_bytes", rank.process},
                     {"total_bytes", rank.total()},
                     {"available_bytes", rank.available},
                     {"resident_bytes", rank.resident}});
  }
  return {
      {"mesh", {{"pp", plan.mesh.pp}, {"ep", plan.mesh.ep}, {"tp", plan.mesh.tp}}},
      {"ranks", plan.mesh.ranks()},
      {"fits", plan.fits},
      {"takes_turns", plan.takes_turns},
      {"longest_context", plan.longest_context},
      {"decode", JsonOf(plan.decode)},
      {"prefill", JsonOf(plan.prefill)},
      {"tokens_per_second", plan.tokens_per_second()},
      {"groups", plan.groups},
      {"cluster_tokens_per_second", plan.cluster_tokens_per_second()},
      {"price_per_million_tokens",
       plan.price_per_million > 0 ? ordered_json(plan.price_per_million) : ordered_json(nullptr)},
      {"per_rank", ranks}};
}

}  // namespace

std::string PlanText(const PlanReport& report, size_t rows) {
  const ModelConfig& config = report.model.source.config;
  const Workload& workload = report.workload;
  std::string out = absl::StrFormat(
      "%s: %s, %d layers, hidden %d, heads %d over %d, vocabulary %d\n"
      "%s: %d node%s of %d devices\n"
      "batch %d, context %d, prompt %d, KV %s\n\n",
      report.model.source.path, config.architecture, config.layers, config.hidden,
      config.query_heads, config.kv_heads, config.vocabulary, report.cluster.config.name(),
      report.cluster.config.nodes(), report.cluster.config.nodes() == 1 ? "" : "s",
      report.cluster.config.devices_per_node(), workload.batch, workload.context, workload.prompt,
      std::string(Name(workload.kv_dtype)));
  const std::vector<MeshPlan>& plans = report.result.plans;
  absl::StrAppendFormat(&out, "%-13s %5s %8s %8s %8s %9s %10s %10s %9s %8s\n", "pp x ep x tp",
                        "ranks", "weights", "KV", "other", "longest", "prefill", "step", "tokens",
                        "price");
  absl::StrAppendFormat(&out, "%-13s %5s %8s %8s %8s %9s %10s %10s %9s %8s\n", "", "", "GB", "GB",
                        "GB", "context", "", "", "/s", "/M");
  for (size_t i = 0; i < std::min(rows, plans.size()); ++i) out += TableRow(plans[i]);
  if (plans.size() > rows) {
    absl::StrAppendFormat(&out, "… and %d more (--rows, or --output json)\n", plans.size() - rows);
  }
  out += "(memory of the rank with the least room; price of generated tokens)\n\n";
  if (report.result.recommended.plan) {
    const MeshPlan& best = plans[*report.result.recommended.plan];
    absl::StrAppendFormat(&out, "recommended: --pp %d --ep %d --tp %d\n", best.mesh.pp,
                          best.mesh.ep, best.mesh.tp);
    absl::StrAppendFormat(&out, "why: %s\nstep: %s\n", report.result.recommended.why,
                          Breakdown(best.decode));
  } else {
    absl::StrAppendFormat(&out, "recommended: none\nwhy: %s\n", report.result.recommended.why);
  }
  out += "\nconstants:\n";
  for (const ClusterConstant& constant : ConstantsOf(report.cluster)) {
    absl::StrAppendFormat(&out, "  %-34s %-14s %s\n", constant.name, constant.value,
                          constant.source);
  }
  return out;
}

std::string PlanJson(const PlanReport& report) {
  ordered_json constants = ordered_json::array();
  for (const ClusterConstant& constant : ConstantsOf(report.cluster)) {
    constants.push_back(
        {{"name", constant.name}, {"value", constant.value}, {"source", constant.source}});
  }
  ordered_json meshes = ordered_json::array();
  for (const MeshPlan& plan : report.result.plans) meshes.push_back(JsonOf(plan));
  const std::optional<size_t> best = report.result.recommended.plan;
  const ordered_json recommended = {{"mesh", best ? meshes[*best]["mesh"] : ordered_json(nullptr)},
                                    {"why", report.result.recommended.why}};
  const ordered_json object = {{"model", report.model.source.path},
                               {"architecture", report.model.source.config.architecture},
                               {"cluster", report.cluster.config.name()},
                               {"workload",
                                {{"batch", report.workload.batch},
                                 {"context", report.workload.context},
                                 {"prompt", report.workload.prompt},
                                 {"kv_dtype", std::string(Name(report.workload.kv_dtype))},
                                 {"max_step_tokens", report.workload.max_step_tokens}}},
                               {"constants", constants},
                               {"meshes", meshes},
                               {"recommended", recommended}};
  return object.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

}  // namespace trireme
