// trireme generate: completions of prompts, alone or as one rank of an MPI job.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "launcher/batch/batch_job.h"
#include "launcher/batch/completion_json.h"
#include "launcher/batch/prompts.h"
#include "launcher/command_line.h"
#include "launcher/commands.h"
#include "launcher/exit_codes.h"
#include "launcher/group/run_as_group.h"
#include "runtime/base/status_macros.h"
#include "runtime/text/detokenizer.h"

namespace trireme {
namespace {

struct GenerateFlags {
  GroupOptions group;
  PromptFlags prompts;
  Request defaults;
  int logprobs = -1;
  bool ignore_eos = false;
  std::string output = "text";
};

void AddFlags(CLI::App& app, GenerateFlags& flags) {
  AddGroupFlags(app, flags.group);
  auto* source = app.add_option_group("prompt")->require_option(1);
  source->add_option("--prompt", flags.prompts.prompt, "text of one prompt");
  source->add_option("--prompt-tokens", flags.prompts.prompt_tokens, "token ids of one: 1,2,3");
  source->add_option("--prompts-file", flags.prompts.prompts_file,
                     "JSONL: {\"prompt\":…} or {\"prompt_tokens\":[…]} a line");
  app.add_flag("--parse-special", flags.prompts.parse_special,
               "texts of special tokens in a prompt become those tokens");
  flags.defaults.max_tokens = 128;
  app.add_option("--max-tokens", flags.defaults.max_tokens, "tokens to generate")
      ->capture_default_str();
  app.add_option("--temperature", flags.defaults.sampling.temperature, "0: greedy")
      ->capture_default_str();
  app.add_option("--top-k", flags.defaults.sampling.top_k, "0: off")->capture_default_str();
  app.add_option("--top-p", flags.defaults.sampling.top_p)->capture_default_str();
  app.add_option("--min-p", flags.defaults.sampling.min_p)->capture_default_str();
  app.add_option("--seed", flags.defaults.sampling.seed)->capture_default_str();
  app.add_option("--logprobs", flags.logprobs, "report the K most likely tokens with each")
      ->check(CLI::Range(0, 1000));
  app.add_flag("--ignore-eos", flags.ignore_eos, "run to --max-tokens past stop tokens");
  app.add_option("--output", flags.output)
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  app.footer(Examples(
      "trireme generate --model models/smollm2.gguf --prompt \"Once upon a time\"",
      "mpirun -n 4 trireme generate --model shards/ --prompts-file p.jsonl --output json"));
}

// Prints completions as they come, in the order of the prompts.
class Printer {
 public:
  Printer(const GenerateFlags& flags, const std::vector<Request>& requests,
          const Tokenizer* tokenizer)
      : flags_(flags), tokenizer_(tokenizer) {
    for (const Request& request : requests) prompts_.push_back(request.prompt);
    StartText();
  }

  void OnToken(const SampledToken& token, const std::vector<int32_t>& stop_tokens) {
    if (!detokenizer_) return;
    if (std::find(stop_tokens.begin(), stop_tokens.end(), token.token) != stop_tokens.end()) return;
    Emit(detokenizer_->Push(token.token));
  }

  void OnDone(size_t index, const Completion& completion) {
    if (detokenizer_) Emit(detokenizer_->Flush());
    if (!completion.error.ok()) {
      failed_ = true;
      absl::FPrintF(stderr, "trireme generate: prompt %d: %s\n", index,
                    completion.error.ToString());
    }
    if (flags_.output == "json") {
      const std::string line =
          completion.error.ok()
              ? CompletionJson(index, prompts_[index], completion, text_, flags_.logprobs >= 0)
              : ErrorJson(index, completion.error);
      absl::PrintF("%s\n", line);
    } else {
      absl::PrintF("\n");
    }
    std::fflush(stdout);
    StartText();
  }

  bool failed() const { return failed_; }

 private:
  void StartText() {
    text_.clear();
    if (tokenizer_ != nullptr) detokenizer_.emplace(*tokenizer_, /*keep_special=*/true);
  }
  void Emit(const std::string& text) {
    text_ += text;
    if (flags_.output == "json" || text.empty()) return;
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
  }

  const GenerateFlags& flags_;
  const Tokenizer* tokenizer_;
  std::vector<std::vector<int32_t>> prompts_;
  std::optional<Detokenizer> detokenizer_;
  std::string text_;
  bool failed_ = false;
};

absl::StatusOr<bool> Lead(GroupSession& session, GenerateFlags& flags) {
  // A model without tokenizer files (a test's, say) still completes token ids; text then stays
  // empty.
  auto tokenizer = LoadTokenizer(session.tokenizer_path());
  if (!tokenizer.ok() && !absl::IsNotFound(tokenizer.status())) return tokenizer.status();
  const Tokenizer* loaded = tokenizer.ok() ? tokenizer->get() : nullptr;
  flags.defaults.num_logprobs = flags.logprobs;
  if (!flags.ignore_eos) flags.defaults.stop_tokens = session.config().stop_tokens;
  TRI_ASSIGN_OR_RETURN(std::vector<Request> requests,
                       ReadPrompts(flags.prompts, flags.defaults, loaded));
  Printer printer(flags, requests, loaded);
  const BatchSink sink{
      .on_token =
          [&](size_t, const SampledToken& token) {
            printer.OnToken(token, flags.defaults.stop_tokens);
          },
      .on_done = [&](size_t index,
                     const Completion& completion) { printer.OnDone(index, completion); }};
  TRI_RETURN_IF_ERROR(RunBatch(session.engine(), std::move(requests), sink));
  return !printer.failed();
}

}  // namespace

int RunGenerate(int argc, char** argv) {
  CLI::App app("Completes prompts: alone, or as one rank of `mpirun -n T*P`.", "trireme generate");
  GenerateFlags flags;
  AddFlags(app, flags);
  if (const auto exit = ParseCommandLine(app, argc, argv)) return *exit;
  return RunAsGroup("generate", flags.group, [&](GroupSession& session) -> absl::StatusOr<int> {
    TRI_ASSIGN_OR_RETURN(const bool all_completed, Lead(session, flags));
    return all_completed ? kExitOk : kExitFailed;
  });
}

}  // namespace trireme
