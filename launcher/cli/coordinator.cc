// trireme coordinator: the server that clients (gRPC, HTTP) and group leaders (gRPC) dial.
#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <map>
#include <string>

#include "absl/strings/str_format.h"
#include "launcher/auth/authenticator.h"
#include "launcher/command_line.h"
#include "launcher/commands.h"
#include "launcher/exit_codes.h"
#include "launcher/gateway/routes.h"
#include "launcher/report/metrics_page.h"
#include "launcher/service/server.h"
#include "launcher/tls/tls_flags.h"
#include "runtime/base/log.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

struct CoordinatorFlags {
  ServerOptions server;
  GatewayOptions gateway;
  bool list_routes = false;
  int64_t max_requests = 1024;
  int64_t request_timeout_ms = 600'000;
  int64_t replay_timeout_ms = 30'000;
  int64_t max_queue_ms = 60'000;
  int64_t drain_timeout_ms = 2'000;
  int status_fd = -1;
};

void AddAuditFlags(CLI::App& app, CoordinatorFlags& flags) {
  AuditOptions& audit = flags.server.audit;
  app.add_option("--audit-log", audit.file, "record who did what in this file (default: nowhere)");
  app.add_option("--audit-fsync", audit.sync, "when what was recorded is forced to the disk")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, AuditSync>{{"always", AuditSync::kAlways},
                                           {"interval", AuditSync::kInterval},
                                           {"never", AuditSync::kNever}}));
  app.add_flag("--audit-required", flags.server.audit_required,
               "take no request while the audit log cannot be written");
}

void AddFlags(CLI::App& app, CoordinatorFlags& flags) {
  app.add_option("--model", flags.server.model, "where the tokenizer is");
  app.add_option("--model-name", flags.server.model_name,
                 "what clients call it (default: the path's last part)");
  app.add_option("--listen", flags.server.listen, "host:port; port 0 takes a free one")
      ->capture_default_str();
  app.add_flag("--insecure", flags.server.allow_remote,
               "listen beyond this machine, unauthenticated");
  app.add_option("--keys-file", flags.server.keys_file,
                 "API keys that clients must have, made by `trireme keys` (default: none)");
  app.add_option("--join-token-file", flags.server.join_token_file,
                 "whose first line worker groups must have too (default: none)");
  AddTlsFlags(app, flags.server.tls);
  AddAuditFlags(app, flags);
  flags.gateway.http.listen.clear();
  app.add_option("--http-listen", flags.gateway.http.listen,
                 "host:port for OpenAI's clients (default: no HTTP)");
  app.add_option("--http-threads", flags.gateway.http.threads, "that move bytes")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  app.add_option("--http-max-connections", flags.gateway.http.max_connections, "open at a time")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  app.add_option("--batch-directory", flags.gateway.batch_directory,
                 "where files and batches are kept (default: neither is taken)");
  app.add_option("--batch-bytes", flags.gateway.batch_bytes, "of all files together")
      ->check(CLI::Range(int64_t{1} << 20, int64_t{1} << 50))
      ->capture_default_str();
  app.add_flag("--list-routes", flags.list_routes, "print the HTTP routes, and what each takes");
  app.add_option("--max-requests", flags.max_requests, "accepted and not ended")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  app.add_option("--request-timeout-ms", flags.request_timeout_ms, "of one request")
      ->check(CLI::Range(int64_t{1}, int64_t{86'400'000}))
      ->capture_default_str();
  app.add_option("--replay-timeout-ms", flags.replay_timeout_ms,
                 "longest wait for another group after a loss")
      ->check(CLI::Range(int64_t{0}, int64_t{3'600'000}))
      ->capture_default_str();
  app.add_option("--max-queue-ms", flags.max_queue_ms,
                 "a request that would wait longer for its turn is refused")
      ->check(CLI::Range(int64_t{1}, int64_t{86'400'000}))
      ->capture_default_str();
  app.add_option("--max-message-bytes", flags.server.max_message_bytes, "of one message over gRPC")
      ->check(CLI::Range(65'536, 268'435'456))
      ->capture_default_str();
  app.add_option("--max-streams", flags.server.max_streams,
                 "calls of one gRPC connection that are open at a time")
      ->check(CLI::Range(1, 100'000))
      ->capture_default_str();
  app.add_option("--drain-timeout-ms", flags.drain_timeout_ms,
                 "what running requests get when asked to stop")
      ->check(CLI::Range(int64_t{0}, int64_t{3'600'000}))
      ->capture_default_str();
  app.add_option("--metrics-prefix", flags.server.dispatcher.metrics.prefix,
                 "what names of metrics begin with; vllm makes its dashboards work")
      ->check([](const std::string& prefix) {
        return IsMetricPrefix(prefix) ? std::string() : "expected letters, digits and _";
      })
      ->capture_default_str();
  app.add_option("--status-fd", flags.status_fd, "report to a supervisor through this descriptor")
      ->check(CLI::Range(1, 1023));
  app.footer(Examples("trireme coordinator --model models/smollm2.gguf",
                      "trireme coordinator --model shards/ --listen 127.0.0.1:6000"));
}

// One line an event (supervisor/serve.cc reads them). A supervisor that is gone is not an error.
void Report(int fd, const std::string& line) {
  if (fd >= 0) dprintf(fd, "%s\n", line.c_str());
}

// One a line: method, path, the scope that a caller needs.
void PrintRoutes() {
  for (const Route& route : Routes()) {
    absl::PrintF("%s %s %s\n", route.method, route.path, NameOfScope(route.scope));
  }
}

absl::StatusOr<Caller> AuthoriseHttp(Authenticator& keys, const HttpRequest& head, Scope scope) {
  const auto value = [&head](std::string_view name) -> std::string_view {
    const std::string* header = head.Header(name);
    return header == nullptr ? std::string_view() : std::string_view(*header);
  };
  TRI_ASSIGN_OR_RETURN(Principal caller, keys.Authorise({.authorization = value("authorization"),
                                                         .api_key = value("x-api-key")},
                                                        scope));
  return Caller{.tenant = caller.tenant, .key = std::move(caller)};
}

// Null: not asked for.
absl::StatusOr<std::unique_ptr<Gateway>> StartGateway(const CoordinatorFlags& flags,
                                                      const Server& server) {
  if (flags.gateway.http.listen.empty()) return nullptr;
  TRI_ASSIGN_OR_RETURN(const bool loopback, IsLoopback(flags.gateway.http.listen));
  if (!loopback && flags.server.keys_file.empty() && !flags.server.allow_remote) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "http: %s can be reached from other machines and asks nobody for a key; listen on "
        "127.0.0.1, give --keys-file, or accept that with --insecure",
        flags.gateway.http.listen));
  }
  GatewayOptions options = flags.gateway;
  options.http.tls = flags.server.tls;
  options.metrics = [dispatcher = server.parts().dispatcher] { return MetricsPage(*dispatcher); };
  if (Authenticator* keys = server.parts().keys; keys != nullptr) {
    options.authorise = [keys](const HttpRequest& head, Scope scope) {
      return AuthoriseHttp(*keys, head, scope);
    };
  }
  return Gateway::Start(std::move(options), server.parts());
}

std::string LineOf(const CoordinatorEvent& event) {
  switch (event.kind) {
    case CoordinatorEvent::Kind::kGroupAttached:
      return "attached " + event.group;
    case CoordinatorEvent::Kind::kGroupLost:
      return "lost " + event.group;
    case CoordinatorEvent::Kind::kServing:
      return "serving";
    case CoordinatorEvent::Kind::kNotServing:
      return "not-serving";
  }
  return "";
}

}  // namespace

int RunCoordinator(int argc, char** argv) {
  CLI::App app(
      "Accepts clients' requests over gRPC and HTTP and gives them to the worker groups that dial "
      "in.",
      "trireme coordinator");
  CoordinatorFlags flags;
  AddFlags(app, flags);
  if (const auto exit = ParseCommandLine(app, argc, argv)) return *exit;
  if (flags.list_routes) {
    PrintRoutes();
    return kExitOk;
  }
  if (flags.server.model.empty()) {
    return FailCommand("coordinator", absl::InvalidArgumentError("--model is required"),
                       "trireme coordinator --help");
  }
  flags.server.dispatcher.max_requests = static_cast<size_t>(flags.max_requests);
  flags.server.dispatcher.request_timeout = std::chrono::milliseconds(flags.request_timeout_ms);
  flags.server.dispatcher.replay_timeout = std::chrono::milliseconds(flags.replay_timeout_ms);
  flags.server.dispatcher.max_queue = std::chrono::milliseconds(flags.max_queue_ms);
  flags.server.observer = [fd = flags.status_fd](const CoordinatorEvent& event) {
    if (event.kind == CoordinatorEvent::Kind::kServing) LogInfo("serving");
    if (event.kind == CoordinatorEvent::Kind::kNotServing) LogWarning("not serving");
    Report(fd, LineOf(event));
  };

  // Blocked before any thread starts, so that only this one takes them.
  sigset_t stop;
  sigemptyset(&stop);
  for (const int signal : {SIGTERM, SIGINT}) sigaddset(&stop, signal);
  pthread_sigmask(SIG_BLOCK, &stop, nullptr);
  auto server = Server::Start(flags.server);
  if (!server.ok())
    return FailCommand("coordinator", server.status(), "trireme coordinator --help");
  auto gateway = StartGateway(flags, **server);
  if (!gateway.ok())
    return FailCommand("coordinator", gateway.status(), "trireme coordinator --help");
  if (*gateway != nullptr) Report(flags.status_fd, "http " + (*gateway)->address());
  Report(flags.status_fd, "listening " + (*server)->address());
  sigwaitinfo(&stop, nullptr);
  LogInfo("asked to stop");
  if (const absl::Status status = (*server)->Stop(Deadline::AfterMs(flags.drain_timeout_ms));
      !status.ok()) {
    LogWarning("stopped with requests running", {{"error", std::string(status.message())}});
  }
  // What a stopping server said last is on its way to clients; nothing new can come.
  gateway->reset();
  return kExitOk;
}

}  // namespace trireme
