// trireme serve: a coordinator and its groups, started, watched, restarted and stopped together.
#include "launcher/supervisor/serve.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "launcher/command_line.h"
#include "launcher/commands.h"
#include "launcher/config/serve_config.h"
#include "launcher/exit_codes.h"

namespace trireme {

int RunServe(int argc, char** argv) {
  CLI::App app(
      "Starts the coordinator and the worker groups of a configuration; stops them on SIGTERM or "
      "Ctrl-C.",
      "trireme serve");
  std::string path, model, listen;
  std::vector<std::string> settings;
  app.add_option("CONFIG", path, "YAML file; its keys are in proto/trireme/v1/config.proto")
      ->required();
  app.add_option("--model", model, "instead of the file's `model`");
  app.add_option("--listen", listen, "instead of the file's `listen`");
  app.add_option("--set", settings, "KEY=VALUE: any other key, such as groups[0].tp=2")->take_all();
  app.footer(
      Examples("trireme serve configs/local.yaml",
               "trireme serve configs/local.yaml --model shards/ --set restart.max_restarts=0"));
  if (const auto exit = ParseCommandLine(app, argc, argv)) return *exit;

  std::vector<std::pair<std::string, std::string>> overrides;
  if (!model.empty()) overrides.emplace_back("model", model);
  if (!listen.empty()) overrides.emplace_back("listen", listen);
  for (const std::string& setting : settings) {
    const size_t equals = setting.find('=');
    if (equals == std::string::npos) {
      return FailCommand("serve",
                         absl::InvalidArgumentError(
                             absl::StrFormat("--set: expected KEY=VALUE; got '%s'", setting)),
                         "trireme serve --help");
    }
    overrides.emplace_back(setting.substr(0, equals), setting.substr(equals + 1));
  }
  auto config = LoadServeConfig(path, overrides);
  if (!config.ok()) return FailCommand("serve", config.status(), "correct the line named above");
  if (!std::filesystem::exists(config->config.model())) {
    const absl::Status missing =
        absl::NotFoundError(absl::StrFormat("model: %s does not exist", config->config.model()));
    return FailCommand("serve", missing, "scripts/fetch_models.sh, or give --model");
  }
  absl::FPrintF(stderr, "%s", DescribeSettings(config->config, config->sources));
  std::error_code error;
  const std::string self = std::filesystem::read_symlink("/proc/self/exe", error);
  return Serve({.trireme = error ? "trireme" : self, .config = *std::move(config)});
}

}  // namespace trireme
