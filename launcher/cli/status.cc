// trireme status: what a coordinator serves, and whether it is ready.
#include <CLI/CLI.hpp>
#include <fstream>
#include <string>

#include "absl/strings/str_format.h"
#include "launcher/client/client_flags.h"
#include "launcher/client/inference_client.h"
#include "launcher/command_line.h"
#include "launcher/commands.h"
#include "launcher/exit_codes.h"

namespace trireme {
namespace {

// 1234567 as "1,234,567".
std::string WithCommas(int64_t count) {
  std::string digits = absl::StrFormat("%d", count);
  for (size_t left = digits.size(); left > 3;) {
    left -= 3;
    digits.insert(left, ",");
  }
  return digits;
}

void PrintHottestExperts(const v1::Group& group) {
  std::string line;
  for (const v1::HotExpert& expert : group.hottest_experts()) {
    if (expert.layer_tokens() <= 0) continue;
    line += absl::StrFormat(
        "%s layer %d expert %d %.1f %% of %s tokens", line.empty() ? "" : ",", expert.layer(),
        expert.expert(),
        100.0 * static_cast<double>(expert.tokens()) / static_cast<double>(expert.layer_tokens()),
        WithCommas(expert.layer_tokens()));
  }
  if (!line.empty()) absl::PrintF("    hottest experts:%s\n", line);
}

constexpr int64_t kTimeoutMs = 3'000;

// To a file, or to stdout where none is named.
int DumpTrace(InferenceClient& client, const std::string& group, const std::string& file) {
  const auto trace = client.Trace(group, Deadline::AfterMs(2 * kTimeoutMs));
  if (!trace.ok()) return FailCommand("status", trace.status(), "trireme status");
  if (file.empty()) {
    absl::PrintF("%s\n", *trace);
    return kExitOk;
  }
  std::ofstream out(file, std::ios::binary | std::ios::trunc);
  out << *trace;
  out.close();
  if (out) return kExitOk;
  return FailCommand("status", absl::UnavailableError(absl::StrFormat("could not write %s", file)),
                     "trireme status --dump");
}

int PrintMetrics(InferenceClient& client) {
  const auto page = client.Metrics(Deadline::AfterMs(kTimeoutMs));
  if (!page.ok()) return FailCommand("status", page.status(), "trireme serve configs/local.yaml");
  absl::PrintF("%s", *page);
  return kExitOk;
}

double Percent(int64_t part, int64_t whole) {
  return whole == 0 ? 0 : 100.0 * static_cast<double>(part) / static_cast<double>(whole);
}

void PrintCounters(const v1::EngineCounters& counters) {
  absl::PrintF("    pages: %d, %d free, %d of them cached; preemptions: %d\n", counters.pages(),
               counters.free_pages(), counters.cached_pages(), counters.preemptions());
  absl::PrintF("    tokens: %s read, %.1f %% of them found in the cache; %s made",
               WithCommas(counters.prompt_tokens()),
               Percent(counters.prefix_hit_tokens(), counters.prefix_queried_tokens()),
               WithCommas(counters.generated_tokens()));
  if (counters.drafted_tokens() > 0) {
    absl::PrintF("; %.1f %% of %s guesses right",
                 Percent(counters.accepted_tokens(), counters.drafted_tokens()),
                 WithCommas(counters.drafted_tokens()));
  }
  absl::PrintF("\n");
}

}  // namespace

int RunStatus(int argc, char** argv) {
  CLI::App app("Says what a coordinator serves; exits 0 when a group is ready, 1 when none is.",
               "trireme status");
  ClientOptions options;
  AddClientFlags(app, options);
  std::string file;
  CLI::Option* const dump =
      app.add_option("--dump", file,
                     "write a group's last steps as a Chrome trace for ui.perfetto.dev to FILE "
                     "(default: stdout)")
          ->expected(0, 1)
          ->type_name("[FILE]");
  std::string dumped_group;
  app.add_option("--group", dumped_group, "whose steps (default: the first group's)");
  bool metrics = false;
  app.add_flag("--metrics", metrics, "print the metrics that Prometheus scrapes, and nothing else");
  app.footer(
      Examples("trireme status --server 127.0.0.1:6000", "trireme status --dump steps.json"));
  if (const auto exit = ParseCommandLine(app, argc, argv)) return *exit;

  InferenceClient client(options);
  if (dump->count() > 0) return DumpTrace(client, dumped_group, file);
  if (metrics) return PrintMetrics(client);
  const auto response = client.Models(Deadline::AfterMs(kTimeoutMs));
  if (!response.ok()) {
    return FailCommand("status", response.status(), "trireme serve configs/local.yaml");
  }
  bool ready = false;
  for (const v1::Model& model : response->models()) {
    absl::PrintF("model %s: vocabulary %d, context %d, chat format %s\n", model.name(),
                 model.vocabulary(), model.max_positions(),
                 model.chat_format().empty() ? "none" : model.chat_format());
    for (const v1::Group& group : model.groups()) {
      ready = ready || group.ready();
      absl::PrintF("  group %s: %s, %d ranks, %d running, %d waiting, %d steps, incarnation %d\n",
                   group.name(), group.ready() ? "ready" : "not ready", group.ranks(),
                   group.running(), group.waiting(), group.steps(), group.incarnation());
      PrintCounters(group.counters());
      PrintHottestExperts(group);
    }
  }
  absl::PrintF("%s\n", ready ? "ready" : "not ready: no worker group is");
  return ready ? kExitOk : kExitFailed;
}

}  // namespace trireme
