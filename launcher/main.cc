// trireme: one program that is launcher, worker, coordinator and client. This file is the table of
// its commands; everything else is in cli/, one file a command.
#include <csignal>
#include <cstdio>
#include <string_view>

#include "absl/strings/str_format.h"
#include "launcher/commands.h"
#include "launcher/exit_codes.h"
#include "runtime/base/mapped_file.h"

namespace trireme {
namespace {

struct Command {
  std::string_view name;
  int (*run)(int argc, char** argv);
  std::string_view summary;
};

constexpr Command kCommands[] = {
    {"serve", RunServe, "start a coordinator and its worker groups, and keep them up"},
    {"coordinator", RunCoordinator, "the gRPC server that clients and groups dial"},
    {"keys", RunKeys, "the API keys of a coordinator: create, revoke, list"},
    {"chat", RunChat, "talk with a served model"},
    {"status", RunStatus, "what a coordinator serves, and whether it is ready"},
    {"plan", RunPlan, "which mesh for a model on a cluster, from headers alone"},
    {"shard", RunShard, "cut a checkpoint into one file a rank"},
    {"verify", RunVerify, "compare shards with their checksums"},
    {"generate", RunGenerate, "complete prompts, alone or under mpirun"},
    {"worker", RunWorker, "one rank of a group that serves a coordinator"},
    {"audit", RunAudit, "check an audit log for changes"},
    {"perplexity", RunPerplexity, "score token sequences"},
    {"bench", RunBench, "how fast a model is here"},
    {"tokenize", RunTokenize, "texts to token ids"},
    {"detokenize", RunDetokenize, "token ids to texts"},
    {"render", RunRender, "conversations to prompts"},
};

void PrintUsage(FILE* out) {
  absl::FPrintF(out, "Usage: trireme COMMAND [--flags]\n\nCommands:\n");
  for (const Command& command : kCommands) {
    absl::FPrintF(out, "  %-12s %s\n", command.name, command.summary);
  }
  absl::FPrintF(out,
                "\nExamples:\n"
                "  trireme serve configs/local.yaml\n"
                "  trireme chat --server 127.0.0.1:50051 --prompt \"Hello\"\n\n"
                "Exit codes: 0 done, 1 failed, 2 misuse; 64 and above in launcher/exit_codes.h.\n");
}

int Main(int argc, char** argv) {
  // A closed pipe or socket, or a file that may not grow, is an error to report where it is written,
  // not the end of the process.
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
  InstallMappedFileFaultHandler(kExitMappedFileChanged);
  const std::string_view name = argc > 1 ? argv[1] : "";
  if (name == "--help" || name == "-h" || name == "help") {
    PrintUsage(stdout);
    return kExitOk;
  }
  if (name == "--version") {
    absl::PrintF("trireme %s\n", TRIREME_VERSION);
    return kExitOk;
  }
  for (const Command& command : kCommands) {
    if (command.name == name) return command.run(argc - 1, argv + 1);
  }
  if (name.empty()) {
    PrintUsage(stderr);
  } else {
    absl::FPrintF(stderr, "trireme: unknown command '%s'\nnext: trireme --help\n", name);
  }
  return kExitMisuse;
}

}  // namespace
}  // namespace trireme

int main(int argc, char** argv) { return trireme::Main(argc, argv); }
