// trireme perplexity: the negative log-likelihood of given token sequences, one JSON line each.
#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "launcher/batch/batch_job.h"
#include "launcher/command_line.h"
#include "launcher/commands.h"
#include "launcher/exit_codes.h"
#include "launcher/group/run_as_group.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

absl::StatusOr<Request> ReadLine(const std::string& line) {
  const auto json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("ids") || !json["ids"].is_array() ||
      json["ids"].size() < 2) {
    return absl::InvalidArgumentError(
        R"(expected {"ids": […]} with at least two token ids on one line)");
  }
  Request request;
  for (const auto& id : json["ids"]) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() > INT32_MAX) {
      return absl::InvalidArgumentError("\"ids\" must hold token ids");
    }
    request.prompt.push_back(id.get<int32_t>());
  }
  request.max_tokens = 1;
  request.prompt_logprobs = true;
  return request;
}

// nll: the sum over the predicted tokens, in nats; tokens: how many were predicted (all but the
// first).
void Print(const Completion& completion) {
  double nll = 0;
  for (const SampledToken& token : completion.prompt_scores) {
    nll -= static_cast<double>(token.logprob);
  }
  const auto tokens = static_cast<double>(completion.prompt_scores.size());
  const nlohmann::ordered_json line = {{"nll", nll},
                                       {"tokens", completion.prompt_scores.size()},
                                       {"mean_nll", nll / tokens},
                                       {"perplexity", std::exp(nll / tokens)}};
  absl::PrintF("%s\n", line.dump());
}

absl::StatusOr<int> Lead(GroupSession& session, const std::string& file) {
  std::vector<Request> requests;
  TRI_RETURN_IF_ERROR(ForEachLine(file, [&](const std::string& line) -> absl::Status {
    TRI_ASSIGN_OR_RETURN(Request request, ReadLine(line));
    requests.push_back(std::move(request));
    return absl::OkStatus();
  }));
  int exit = kExitOk;
  const BatchSink sink{.on_token = [](size_t, const SampledToken&) {},
                       .on_done =
                           [&](size_t index, const Completion& completion) {
                             if (completion.error.ok()) {
                               Print(completion);
                               return;
                             }
                             exit = kExitFailed;
                             absl::FPrintF(stderr, "trireme perplexity: line %d: %s\n", index + 1,
                                           completion.error.ToString());
                           }};
  TRI_RETURN_IF_ERROR(RunBatch(session.engine(), std::move(requests), sink));
  return exit;
}

}  // namespace

int RunPerplexity(int argc, char** argv) {
  CLI::App app(
      "Scores token sequences: one {\"ids\":[…]} a line in, one {\"nll\":…,\"tokens\":…} a line "
      "out "
      "(nll is the sum in nats over the predicted tokens).",
      "trireme perplexity");
  GroupOptions options;
  std::string file;
  AddGroupFlags(app, options);
  app.add_option("--file", file, "lines to read (default: stdin)");
  app.footer(Examples("trireme perplexity --model models/smollm2.gguf --file text.jsonl",
                      "mpirun -n 2 trireme perplexity --model shards/ --file text.jsonl"));
  if (const auto exit = ParseCommandLine(app, argc, argv)) return *exit;
  return RunAsGroup("perplexity", options,
                    [&](GroupSession& session) { return Lead(session, file); });
}

}  // namespace trireme
