// trireme worker: one rank of a group that serves a coordinator's requests.
#include <CLI/CLI.hpp>
#include <string>

#include "absl/strings/str_format.h"
#include "launcher/command_line.h"
#include "launcher/commands.h"
#include "launcher/exit_codes.h"
#include "launcher/group/run_as_group.h"
#include "launcher/group/stop_signals.h"
#include "launcher/identity/tokenizer_hash.h"
#include "launcher/link/leader.h"
#include "launcher/tls/tls_flags.h"
#include "runtime/base/log.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

std::string LastPart(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path.substr(path.rfind('/') + 1);
}

absl::StatusOr<GroupIdentity> Introduce(GroupSession& session, const std::string& name) {
  TRI_RETURN_IF_ERROR(session.tokenizer().status());
  return GroupIdentity{.model = name,
                       .model_identity = session.identity(),
                       .tokenizer_hash = TokenizerHash(**session.tokenizer()),
                       .stop_tokens = session.config().stop_tokens,
                       .hosts = session.hosts(),
                       .mesh = session.mesh().ToString(),
                       .trace = [&session] { return session.Trace(); }};
}

absl::StatusOr<int> Lead(GroupSession& session, const LeaderOptions& options,
                         const std::string& model_name, const std::stop_token& stop) {
  TRI_ASSIGN_OR_RETURN(const GroupIdentity identity, Introduce(session, model_name));
  const absl::Status served = RunLeader(options, identity, session.engine(), stop);
  if (served.ok()) return kExitOk;
  if (!session.engine().status().health.ok()) return served;
  LogError("the group leaves its coordinator", {{"error", served.ToString()}});
  return absl::IsUnavailable(served) ? kExitCoordinatorLost : kExitFailed;
}

}  // namespace

int RunWorker(int argc, char** argv) {
  CLI::App app("Serves a coordinator's requests, as one rank of `mpirun -n T*P`.",
               "trireme worker");
  GroupOptions group;
  LeaderOptions leader{.coordinator = {.address = "127.0.0.1:50051"}, .group = "local"};
  std::string model_name;
  AddGroupFlags(app, group);
  app.add_option("--coordinator", leader.coordinator.address, "host:port that the leader dials")
      ->capture_default_str();
  app.add_option("--join-token-file", leader.coordinator.join_token_file,
                 "whose first line proves to the coordinator that this group may join");
  app.add_option("--group", leader.group, "name, unique among the coordinator's groups")
      ->capture_default_str();
  app.add_option("--model-name", model_name,
                 "what clients call it (default: the path's last part)");
  AddTlsFlags(app, leader.coordinator.tls);
  app.footer(Examples("mpirun -n 2 trireme worker --model shards/ --coordinator 127.0.0.1:50051",
                      "trireme worker --model models/smollm2.gguf --group second"));
  if (const auto exit = ParseCommandLine(app, argc, argv)) return *exit;
  if (model_name.empty()) model_name = LastPart(group.model);
  const StopSignals signals;
  return RunAsGroup("worker", group, [&](GroupSession& session) {
    return Lead(session, leader, model_name, signals.token());
  });
}

}  // namespace trireme
