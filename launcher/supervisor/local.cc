#include "launcher/supervisor/local.h"

#include <unistd.h>

#include <array>
#include <utility>

#include "absl/strings/str_format.h"
#include "launcher/tls/tls_flags.h"
#include "parallel/shards/manifest.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

void AddFlag(std::string_view flag, int64_t value, std::vector<std::string>& argv) {
  if (value == 0) return;  // the worker's own default
  argv.emplace_back(flag);
  argv.push_back(std::to_string(value));
}

void AddJoinToken(const v1::ServeConfig& config, std::vector<std::string>& argv) {
  if (config.auth().join_token_file().empty()) return;
  argv.insert(argv.end(), {"--join-token-file", config.auth().join_token_file()});
}

ServerTlsFiles FilesOf(const v1::TlsConfig& config) {
  return {
      .certificate = config.certificate(), .key = config.key(), .client_ca = config.client_ca()};
}

ClientTlsFiles FilesOf(const v1::LinkTlsConfig& config) {
  return {.ca = config.ca(),
          .certificate = config.certificate(),
          .key = config.key(),
          .server_name = config.server_name()};
}

}  // namespace

absl::StatusOr<int> RanksOf(const v1::GroupConfig& group, const std::string& model) {
  std::array<int64_t, 3> axes = {group.tp(), group.pp(), group.ep()};
  if (IsShardDirectory(model)) {
    TRI_ASSIGN_OR_RETURN(const v1::ShardManifest manifest, ReadManifest(model));
    const v1::MeshAxes& mesh = manifest.set().mesh();
    const std::array<int64_t, 3> cut = {mesh.tp(), mesh.pp(), mesh.ep()};
    for (size_t i = 0; i < axes.size(); ++i) {
      if (axes[i] == 0) axes[i] = cut[i];
    }
  }
  int64_t ranks = 1;
  for (const int64_t axis : axes) ranks *= axis == 0 ? 1 : axis;
  constexpr int64_t kMaxRanks = 4096;
  if (ranks > kMaxRanks) {
    return absl::InvalidArgumentError(
        absl::StrFormat("group '%s': tp x pp x ep must be at most %d ranks; got %d", group.name(),
                        kMaxRanks, ranks));
  }
  return static_cast<int>(ranks);
}

ProcessSpec CoordinatorProcess(const std::string& trireme, const v1::ServeConfig& config) {
  ProcessSpec spec;
  spec.argv = {trireme, "coordinator", "--listen", config.listen(), "--model", config.model()};
  if (!config.model_name().empty()) {
    spec.argv.insert(spec.argv.end(), {"--model-name", config.model_name()});
  }
  if (!config.auth().keys_file().empty()) {
    spec.argv.insert(spec.argv.end(), {"--keys-file", config.auth().keys_file()});
  }
  AddJoinToken(config, spec.argv);
  if (config.insecure()) spec.argv.emplace_back("--insecure");
  AppendTlsFlags(FilesOf(config.tls()), spec.argv);
  if (!config.audit().file().empty()) {
    spec.argv.insert(spec.argv.end(), {"--audit-log", config.audit().file(), "--audit-fsync",
                                       config.audit().fsync()});
    if (config.audit().required()) spec.argv.emplace_back("--audit-required");
  }
  if (!config.http().listen().empty()) {
    spec.argv.insert(spec.argv.end(), {"--http-listen", config.http().listen()});
    AddFlag("--http-threads", config.http().threads(), spec.argv);
    AddFlag("--http-max-connections", config.http().max_connections(), spec.argv);
    if (!config.http().batch_directory().empty()) {
      spec.argv.insert(spec.argv.end(), {"--batch-directory", config.http().batch_directory()});
      AddFlag("--batch-bytes", config.http().batch_bytes(), spec.argv);
    }
  }
  AddFlag("--max-requests", config.limits().max_requests(), spec.argv);
  if (!config.telemetry().metrics_prefix().empty()) {
    spec.argv.insert(spec.argv.end(), {"--metrics-prefix", config.telemetry().metrics_prefix()});
  }
  AddFlag("--max-queue-ms", config.limits().max_queue_ms(), spec.argv);
  AddFlag("--max-message-bytes", config.limits().max_message_bytes(), spec.argv);
  AddFlag("--max-streams", config.limits().max_streams(), spec.argv);
  AddFlag("--request-timeout-ms", config.limits().request_timeout_ms(), spec.argv);
  spec.argv.insert(spec.argv.end(),
                   {"--replay-timeout-ms", std::to_string(config.limits().replay_timeout_ms()),
                    "--drain-timeout-ms", std::to_string(config.drain_timeout_ms()), "--status-fd",
                    std::to_string(kStatusFd)});
  spec.status_pipe = true;
  spec.parent_death_signal = SIGTERM;
  return spec;
}

ProcessSpec GroupProcess(const std::string& trireme, const v1::ServeConfig& config,
                         const v1::GroupConfig& group, const std::string& coordinator, int ranks) {
  ProcessSpec spec;
  spec.argv = {"mpirun", "-n", std::to_string(ranks),
               // Ranks place their own threads.
               "--bind-to", "none",
               // Open MPI counts physical cores and refuses more ranks than those; the operator has
               // said how many.
               "--oversubscribe",
               // Once a rank is dead the others go at once: 0.04 s instead of 1 s.
               "--mca", "odls_base_sigkill_timeout", "0"};
  spec.argv.insert(spec.argv.end(), group.mpirun_flags().begin(), group.mpirun_flags().end());
  spec.argv.insert(spec.argv.end(), {trireme, "worker", "--coordinator", coordinator, "--group",
                                     group.name(), "--model", config.model()});
  AddJoinToken(config, spec.argv);
  if (!config.model_name().empty()) {
    spec.argv.insert(spec.argv.end(), {"--model-name", config.model_name()});
  }
  AppendTlsFlags(FilesOf(config.link_tls()), spec.argv);
  AddFlag("--tp", group.tp(), spec.argv);
  AddFlag("--pp", group.pp(), spec.argv);
  AddFlag("--ep", group.ep(), spec.argv);
  AddFlag("--threads", group.threads(), spec.argv);
  AddFlag("--max-sequences", group.max_sequences(), spec.argv);
  AddFlag("--max-step-tokens", group.max_step_tokens(), spec.argv);
  AddFlag("--speculate", group.speculate(), spec.argv);
  if (!group.prefix_cache()) spec.argv.emplace_back("--no-prefix-cache");
  if (group.isolate_tenants()) spec.argv.emplace_back("--isolate-tenants");
  AddFlag("--max-context", group.max_positions(), spec.argv);
  AddFlag("--kv-positions", group.kv_positions(), spec.argv);
  spec.argv.insert(spec.argv.end(), {"--compute", group.compute()});
  if (!group.kv_dtype().empty() && group.kv_dtype() != "auto") {
    spec.argv.insert(spec.argv.end(), {"--kv-dtype", group.kv_dtype()});
  }
  spec.argv.insert(spec.argv.end(), group.worker_flags().begin(), group.worker_flags().end());
  if (geteuid() == 0) {
    // Open MPI makes root say so.
    spec.environment = {{"OMPI_ALLOW_RUN_AS_ROOT", "1"}, {"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"}};
  }
  spec.parent_death_signal = SIGTERM;
  return spec;
}

}  // namespace trireme
