// trireme shard: a checkpoint → one file a rank and a manifest.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "launcher/command_line.h"
#include "launcher/commands.h"
#include "launcher/exit_codes.h"
#include "launcher/progress_bar.h"
#include "parallel/shards/model_source.h"
#include "parallel/shards/shard_writer.h"

namespace trireme {
namespace {

void PrintReport(const ShardReport& report, const ShardOptions& options,
                 const std::string& output) {
  if (output == "json") {
    const nlohmann::ordered_json json = {
        {"directory", options.directory},
        {"identity", report.identity},
        {"mesh", {{"pp", options.mesh.pp}, {"ep", options.mesh.ep}, {"tp", options.mesh.tp}}},
        {"written", report.written},
        {"kept", report.kept},
        {"bytes_copied", report.bytes_copied},
        {"bytes_reused", report.bytes_reused}};
    absl::PrintF("%s\n", json.dump());
    return;
  }
  if (report.written.empty()) {
    absl::PrintF("%s: ranks %s of %s were whole already\n", options.directory,
                 absl::StrJoin(report.kept, ","), options.mesh.ToString());
    return;
  }
  absl::PrintF("%s: wrote ranks %s of %s: %s copied, %s reused, identity %s\n", options.directory,
               absl::StrJoin(report.written, ","), options.mesh.ToString(),
               HumanBytes(static_cast<double>(report.bytes_copied)),
               HumanBytes(static_cast<double>(report.bytes_reused)), report.identity.substr(0, 12));
}

}  // namespace

int RunShard(int argc, char** argv) {
  CLI::App app(
      "Cuts a checkpoint into one safetensors file a rank, with checksums. A run that was\n"
      "interrupted is resumed by the same command.",
      "trireme shard");
  std::string path, output = "text";
  Quantization quantization = Quantization::kNone;
  ShardOptions options;
  app.add_option("--model", path, "checkpoint directory or GGUF file")->required();
  app.add_option("--tp", options.mesh.tp, "tensor-parallel ranks of a stage")
      ->capture_default_str();
  app.add_option("--pp", options.mesh.pp, "pipeline stages")->capture_default_str();
  app.add_option("--ep", options.mesh.ep, "expert-parallel groups of a stage")
      ->capture_default_str();
  app.add_option("--ranks", options.ranks, "write only these ranks: 0,1")->delimiter(',');
  app.add_option_function<std::string>(
         "--quant",
         [&quantization](const std::string& name) { quantization = *QuantizationFromName(name); },
         "store matrices of floats in blocks: int8 (8.5 bits a weight) or int4 (5 bits)")
      ->check(CLI::IsMember({"none", "int8", "int4"}));
  app.add_option("--out", options.directory, "directory for the shards")->required();
  app.add_option("--output", output)->check(CLI::IsMember({"text", "json"}))->capture_default_str();
  app.footer(
      Examples("trireme shard --model models/smollm2.gguf --tp 2 --out shards/smollm2-tp2",
               "trireme shard --model models/llama --quant int8 --tp 8 --pp 2 --out /ssd/x"));
  if (const auto exit = ParseCommandLine(app, argc, argv)) return *exit;

  absl::StatusOr<ModelSource> model = OpenModel(path);
  if (!model.ok()) {
    FailCommand("shard", model.status(), "give --model a checkpoint directory or a GGUF file");
    return kExitFailed;
  }
  if (const absl::Status status = Quantize(quantization, *model); !status.ok()) {
    FailCommand("shard", status, "trireme shard --help");
    return kExitFailed;
  }
  absl::StatusOr<ShardReport> report;
  {
    ProgressBar bar("sharding");
    options.progress = [&](const ShardProgress& progress) {
      bar.Update(progress.bytes_done, progress.bytes_total);
    };
    report = WriteShards(*model, options);
  }
  if (!report.ok()) return FailCommand("shard", report.status(), "trireme shard --help");
  PrintReport(*report, options, output);
  return kExitOk;
}

}  // namespace trireme
