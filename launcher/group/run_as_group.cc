#include "launcher/group/run_as_group.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "absl/strings/str_format.h"
#include "launcher/command_line.h"
#include "launcher/exit_codes.h"
#include "launcher/group/launch_environment.h"
#include "runtime/base/log.h"
#include "runtime/kv/page_pool.h"

namespace trireme {
namespace {

// Ranks that are gone cannot be waited for: no destructors, no MPI_Finalize.
[[noreturn]] void EndProcess(int exit_code) {
  std::fflush(nullptr);
  _exit(exit_code);
}

int RefusedToStart(std::string_view verb, const absl::Status& status, bool many) {
  if (!many) return FailCommand(verb, status, absl::StrFormat("trireme %s --help", verb));
  // All ranks have the same verdict; one of them tells it.
  const std::string rank = ReadLaunchEnvironment().pmix_rank;
  if (!absl::IsFailedPrecondition(status) || rank.empty() || rank == "0") {
    FailCommand(verb, status, "mend what is named above, on the rank that is named");
  }
  EndProcess(kExitStartRefused);
}

int Lead(std::string_view verb, GroupSession& session,
         absl::FunctionRef<absl::StatusOr<int>(GroupSession&)> lead) {
  const absl::StatusOr<int> code = lead(session);
  if (code.ok()) return *code;
  const int failed = FailCommand(verb, code.status(), absl::StrFormat("trireme %s --help", verb));
  if (const absl::Status lost = session.engine().status().health; !lost.ok()) {
    session.LeaveTrace(std::string(lost.message()));
    EndProcess(kExitRankLost);
  }
  return failed;
}

}  // namespace

void AddGroupFlags(CLI::App& app, GroupOptions& options) {
  app.add_option("--model", options.model, "checkpoint directory, GGUF file or shard directory")
      ->required();
  app.add_option("--tp", options.mesh.tp, "tensor-parallel ranks (default: the shards', or 1)");
  app.add_option("--pp", options.mesh.pp, "pipeline stages (default: the shards', or 1)");
  app.add_option("--ep", options.mesh.ep, "expert-parallel ranks (default: the shards', or 1)");
  app.add_option("--compute", options.compute,
                 "native: narrow dot products, fp16 KV cache; fp32: neither")
      ->transform(CLI::CheckedTransformer(std::map<std::string, Arithmetic>{
          {"native", Arithmetic::kNative}, {"fp32", Arithmetic::kFp32}}));
  app.add_option_function<std::string>(
         "--kv-dtype",
         [&options](const std::string& name) { options.kv_dtype = KvDTypesByName().at(name); },
         "the KV cache, whatever --compute: q8_0 is 8 bits, half the bytes of f16")
      ->check(CLI::IsMember(KvDTypesByName()));
  app.add_option("--threads", options.threads, "threads of each rank (default: its share of cores)")
      ->check(CLI::Range(1, 1024));
  app.add_option("--max-context", options.max_positions, "longest prompt + completion")
      ->check(CLI::Range(1, 1 << 24));
  app.add_option("--kv-positions", options.kv_positions, "positions that the KV cache holds in all")
      ->check(CLI::Range(1, 1 << 30));
  app.add_option("--max-sequences", options.max_sequences, "sequences in one step")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  app.add_option("--max-step-tokens", options.max_step_tokens, "rows in one step")
      ->check(CLI::Range(1, 65'536))
      ->capture_default_str();
  app.add_option("--max-in-flight", options.max_in_flight,
                 "step plans in flight at most (default: one a stage)")
      ->check(CLI::Range(1, 1024));
  app.add_flag("--no-prefix-cache{false}", options.prefix_cache,
               "prompts that begin alike do not share what was computed of them");
  app.add_flag("--isolate-tenants", options.isolate_tenants, "they share it only within a tenant");
  app.add_option("--speculate", options.speculative_tokens,
                 "guesses from the text so far, checked with each token; 0: off")
      ->check(CLI::Range(0, 64))
      ->capture_default_str();
  app.add_option("--step-timeout-ms", options.step_timeout_ms, "a step's deadline")
      ->check(CLI::Range(1, 3'600'000))
      ->capture_default_str();
  app.add_option("--hang-timeout-ms", options.hang_timeout_ms,
                 "silence after which a rank counts as stopped")
      ->check(CLI::Range(100, 3'600'000))
      ->capture_default_str();
  app.add_option("--trace-directory", options.trace_directory,
                 "where a trace of the last steps is left when the group is lost (default: /tmp)");
  app.add_flag("--verify", options.verify, "compare this rank's shard with its checksums first");
}

int RunAsGroup(std::string_view verb, const GroupOptions& options,
               absl::FunctionRef<absl::StatusOr<int>(GroupSession&)> lead) {
  const absl::StatusOr<bool> many = IsOneOfManyRanks(ReadLaunchEnvironment());
  auto session = GroupSession::Open(options);
  if (!session.ok()) return RefusedToStart(verb, session.status(), many.ok() && *many);
  int exit_code = kExitOk;
  if ((*session)->leader()) {
    exit_code = Lead(verb, **session, lead);
  } else if (const absl::Status followed = (*session)->Follow(); !followed.ok()) {
    LogError("rank lost its group", {{"error", followed.ToString()}});
    (*session)->LeaveTrace(std::string(followed.message()));
    EndProcess(kExitRankLost);
  }
  if (const absl::Status closed = (*session)->Close(); !closed.ok()) {
    LogError("could not leave the group in agreement", {{"error", closed.ToString()}});
    EndProcess(exit_code == kExitOk ? kExitRankLost : exit_code);
  }
  return exit_code;
}

}  // namespace trireme
