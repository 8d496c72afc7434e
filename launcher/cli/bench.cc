// trireme bench: how fast things are, measured here and now.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "launcher/bench/measurement.h"
#include "launcher/bench/model_bench.h"
#include "launcher/command_line.h"
#include "launcher/commands.h"
#include "launcher/exit_codes.h"
#include "launcher/group/run_as_group.h"
#include "runtime/base/status_macros.h"
#include "runtime/model/memory_plan.h"

namespace trireme {
namespace {

struct ModelFlags {
  GroupOptions group;
  ModelBenchOptions bench;
  std::string output = "text";
};

void PrintModelRows(const ModelFlags& flags, const GroupSession& session,
                    const std::vector<ModelBenchRow>& rows) {
  if (flags.output == "json") {
    nlohmann::ordered_json listed = nlohmann::ordered_json::array();
    for (const ModelBenchRow& row : rows) {
      listed.push_back({{"what", row.what},
                        {"batch", row.batch},
                        {row.what == "prefill" ? "prompt" : "context", row.context},
                        {"tokens_per_second", Median(row.tokens_per_second)},
                        {"samples", row.tokens_per_second}});
    }
    const nlohmann::ordered_json json = {
        {"model", flags.group.model},
        {"identity", session.identity()},
        {"mesh", {{"pp", session.mesh().pp}, {"ep", session.mesh().ep}, {"tp", session.mesh().tp}}},
        {"decoded", flags.bench.tokens},
        {"rows", std::move(listed)}};
    absl::PrintF("%s\n", json.dump());
    return;
  }
  std::vector<std::vector<std::string>> table = {
      {"", "sequences", "context", "tokens/s", "least", "most"}};
  for (const ModelBenchRow& row : rows) {
    const auto rate = [](double value) { return absl::StrFormat("%.1f", value); };
    const std::vector<double>& sample = row.tokens_per_second;
    table.push_back({std::string(row.what), absl::StrCat(row.batch), absl::StrCat(row.context),
                     rate(Median(sample)), rate(Quantile(sample, 0)), rate(Quantile(sample, 1))});
  }
  absl::PrintF("%s, %s: medians of %d\n%s", flags.group.model, session.mesh().ToString(),
               flags.bench.repetitions, TextTable(table));
}

void AddModelFlags(CLI::App& app, ModelFlags& flags) {
  AddGroupFlags(app, flags.group);
  const auto list = [&app](const char* name, std::vector<int64_t>& values, const char* what) {
    app.add_option(name, values, what)
        ->delimiter(',')
        ->check(CLI::Range(int64_t{1}, int64_t{1} << 20))
        ->capture_default_str();
  };
  list("--prompt", flags.bench.prompts, "tokens of prompts to read");
  list("--batch", flags.bench.batches, "sequences that decode together");
  list("--context", flags.bench.contexts, "tokens before those that they decode");
  app.add_option("--tokens", flags.bench.tokens, "to decode of each sequence")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20))
      ->capture_default_str();
  app.add_option("--repetitions", flags.bench.repetitions)
      ->check(CLI::Range(1, 10'000))
      ->capture_default_str();
  app.add_option("--output", flags.output)
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  app.footer(Examples("trireme bench model --model models/smollm2.gguf --batch 1,8,16",
                      "mpirun -n 2 trireme bench model --model shards/ --prompt 512,2048"));
}

int RunModelBench(int argc, char** argv) {
  CLI::App app("Times the engine with random prompts: alone, or as one rank of `mpirun -n T*P`.",
               "trireme bench model");
  ModelFlags flags;
  AddModelFlags(app, flags);
  if (const auto exit = ParseCommandLine(app, argc, argv)) return *exit;
  const ModelBenchNeed need = NeedOf(flags.bench, flags.group.max_step_tokens, kPageTokens);
  if (flags.group.kv_positions == 0) flags.group.kv_positions = need.kv_positions;
  if (flags.group.max_positions == 0) flags.group.max_positions = need.positions;
  flags.group.prefix_cache = false;
  return RunAsGroup("bench", flags.group, [&](GroupSession& session) -> absl::StatusOr<int> {
    TRI_ASSIGN_OR_RETURN(const std::vector<ModelBenchRow> rows,
                         BenchModel(session.engine(), flags.bench));
    PrintModelRows(flags, session, rows);
    return kExitOk;
  });
}

struct Bench {
  std::string_view name;
  int (*run)(int argc, char** argv);
  std::string_view summary;
};

constexpr Bench kBenches[] = {
    {"model", RunModelBench, "tokens a second of a model: prompts read, sequences decoded"},
};

void PrintUsage(FILE* out) {
  absl::FPrintF(out, "Usage: trireme bench WHAT [--flags]\n\n");
  for (const Bench& bench : kBenches) {
    absl::FPrintF(out, "  %-12s %s\n", bench.name, bench.summary);
  }
  absl::FPrintF(out, "\nExample:\n  trireme bench model --model models/smollm2.gguf\n");
}

}  // namespace

int RunBench(int argc, char** argv) {
  const std::string_view name = argc > 1 ? argv[1] : "";
  for (const Bench& bench : kBenches) {
    if (bench.name == name) return bench.run(argc - 1, argv + 1);
  }
  const bool asked = name == "--help" || name == "-h";
  PrintUsage(asked ? stdout : stderr);
  return asked ? kExitOk : kExitMisuse;
}

}  // namespace trireme
