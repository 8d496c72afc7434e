// trireme verify: reads all of a shard directory and compares it with its checksums.
#include "parallel/shards/verify.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "launcher/command_line.h"
#include "launcher/commands.h"
#include "launcher/exit_codes.h"
#include "launcher/progress_bar.h"
#include "parallel/partition.h"
#include "parallel/shards/manifest.h"
#include "parallel/shards/model_source.h"
#include "parallel/shards/shard_layout.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

void PrintJson(const std::string& path, const VerifyReport& report, bool checksums) {
  nlohmann::ordered_json json = {{"path", path},
                                 {"ok", report.damage.empty()},
                                 {"checksums", checksums},
                                 {"identity", report.identity},
                                 {"mesh_ranks", report.mesh_ranks},
                                 {"ranks", report.ranks},
                                 {"bytes", report.bytes},
                                 {"damage", nlohmann::ordered_json::array()}};
  for (const Damage& damage : report.damage) {
    json["damage"].push_back({{"file", damage.file},
                              {"tensor", damage.tensor},
                              {"offset", damage.offset},
                              {"what", damage.what}});
  }
  // A file's name may be no UTF-8; it must not throw.
  absl::PrintF("%s\n", json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

void PrintText(const std::string& path, const VerifyReport& report, bool checksums) {
  for (const Damage& damage : report.damage) {
    absl::FPrintF(stderr, "trireme verify: %s%s%s: %s\n", damage.file,
                  damage.tensor.empty() ? "" : ": tensor ", damage.tensor, damage.what);
  }
  if (!report.damage.empty()) return;
  if (!checksums) {
    absl::PrintF(
        "%s: every tensor that the model needs is there and well-formed; a checkpoint "
        "carries no checksums\n",
        path);
    return;
  }
  absl::PrintF("%s: ranks %s of %d are whole: %s read, identity %s\n", path,
               absl::StrJoin(report.ranks, ","), report.mesh_ranks,
               HumanBytes(static_cast<double>(report.bytes)), report.identity.substr(0, 12));
}

absl::StatusOr<VerifyReport> VerifyCheckpoint(const std::string& path) {
  TRI_ASSIGN_OR_RETURN(const ModelSource model, OpenModel(path));
  TRI_ASSIGN_OR_RETURN(const std::vector<RankShare> shares,
                       Partition(model.table, model.config, Mesh{}));
  TRI_ASSIGN_OR_RETURN(
      const std::vector<RankLayout> layouts,
      LayOutRanks(model.table, shares, *model.checkpoint->tensors, model.identity));
  return VerifyReport{
      .identity = model.identity, .mesh_ranks = 1, .ranks = {}, .bytes = 0, .damage = {}};
}

// The worst exit code of the paths.
int VerifyPath(const std::string& path, VerifyOptions options, const std::string& output) {
  const bool checksums = IsShardDirectory(path);
  absl::StatusOr<VerifyReport> report;
  {
    ProgressBar bar("verifying");
    options.progress = [&](const VerifyProgress& progress) {
      bar.Update(progress.bytes_done, progress.bytes_total);
    };
    report = checksums ? VerifyShards(path, options) : VerifyCheckpoint(path);
  }
  if (!report.ok()) {
    FailCommand("verify", report.status(), "give a shard directory, a checkpoint or a GGUF file");
    return kExitFailed;
  }
  (output == "json" ? PrintJson : PrintText)(path, *report, checksums);
  if (report->damage.empty()) return kExitOk;
  absl::FPrintF(stderr,
                "next: copy the files again, or run the trireme shard command that wrote "
                "them into an empty directory\n");
  return kExitFailed;
}

}  // namespace

int RunVerify(int argc, char** argv) {
  CLI::App app(
      "Reads all of a shard directory and compares it with its checksums; of a checkpoint,\n"
      "checks that its tensors are those its model needs.",
      "trireme verify");
  std::vector<std::string> paths;
  std::string output = "text";
  VerifyOptions options;
  app.add_option("path,--model", paths, "shard directories, checkpoints or GGUF files")->required();
  app.add_option("--ranks", options.ranks, "read only these ranks' files: 0,1")->delimiter(',');
  app.add_option("--threads", options.threads)->check(CLI::Range(1, 256))->capture_default_str();
  app.add_option("--output", output)->check(CLI::IsMember({"text", "json"}))->capture_default_str();
  app.footer(Examples("trireme verify shards/smollm2-tp2",
                      "trireme verify /ssd/x --ranks 0,1 --output json"));
  if (const auto exit = ParseCommandLine(app, argc, argv)) return *exit;

  int worst = kExitOk;
  for (const std::string& path : paths) worst = std::max(worst, VerifyPath(path, options, output));
  return worst;
}

}  // namespace trireme
