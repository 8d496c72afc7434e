// trireme generate: completions of prompts, alone or as one rank of an MPI job.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <optional>
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
#include "launcher/request/completion_text.h"
#include "launcher/request/limits.h"
#include "launcher/request/request_flags.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

struct GenerateFlags {
  GroupOptions group;
  PromptFlags prompts;
  v1::GenerateRequest defaults;
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
  v1::GenerateRequest& defaults = flags.defaults;
  defaults.set_max_tokens(128);
  app.add_option_function<int32_t>(
      "--max-tokens", [&](int32_t value) { defaults.set_max_tokens(value); },
      "tokens to generate (default: 128)");
  AddRequestFlags(app, defaults);
  app.add_option_function<int32_t>(
         "--n", [&](int32_t value) { defaults.set_n(value); }, "completions of each prompt")
      ->check(CLI::Range(1, kMaxCompletions));
  app.add_option_function<int32_t>(
         "--logprobs", [&](int32_t value) { defaults.set_logprobs(value); },
         "report the K most likely tokens with each")
      ->check(CLI::Range(0, kMaxBatchLogprobs));
  app.add_flag_callback(
      "--prompt-logprobs", [&] { defaults.set_prompt_logprobs(true); },
      "report log-probabilities of the prompt's tokens, too");
  app.add_flag_callback(
      "--echo", [&] { defaults.set_echo(true); }, "begin each text with the prompt's");
  app.add_flag_callback(
      "--ignore-eos", [&] { defaults.set_ignore_eos(true); },
      "run to --max-tokens past stop tokens");
  app.add_option("--output", flags.output)
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  app.footer(Examples(
      "trireme generate --model models/smollm2.gguf --prompt \"Once upon a time\"",
      "mpirun -n 4 trireme generate --model shards/ --prompts-file p.jsonl --output json"));
}

// One completion that is asked for.
struct Wanted {
  size_t index = 0;              // of its prompt
  std::optional<size_t> choice;  // where its prompt has several
  std::string echo;
  Request request;
};

std::vector<Wanted> CompletionsOf(const std::vector<AcceptedRequest>& prompts) {
  std::vector<Wanted> wanted;
  for (size_t index = 0; index < prompts.size(); ++index) {
    for (int32_t choice = 0; choice < prompts[index].choices; ++choice) {
      Wanted& one = wanted.emplace_back();
      one.index = index;
      if (prompts[index].choices > 1) one.choice = static_cast<size_t>(choice);
      one.echo = prompts[index].echo;
      one.request = ChoiceOf(prompts[index], choice);
    }
  }
  return wanted;
}

// Prints completions as they come, in the order of the prompts.
class Printer {
 public:
  Printer(bool json, std::vector<Wanted> wanted, const Tokenizer* tokenizer)
      : json_(json), wanted_(std::move(wanted)), tokenizer_(tokenizer) {
    StartText(0);
  }

  void OnToken(const SampledToken& token) {
    if (completion_text_) Emit(completion_text_->Push(token.token));
  }

  void OnDone(size_t number, const Completion& completion) {
    if (completion_text_) Emit(completion_text_->Flush());
    const Wanted& wanted = wanted_[number];
    if (!completion.error.ok()) {
      failed_ = true;
      absl::FPrintF(stderr, "trireme generate: prompt %d: %s\n", wanted.index,
                    completion.error.ToString());
    }
    if (json_) {
      const std::string line =
          completion.error.ok()
              ? CompletionJson({.index = wanted.index,
                                .choice = wanted.choice,
                                .prompt = wanted.request.prompt,
                                .completion = completion,
                                .text = text_,
                                .logprobs = wanted.request.num_logprobs >= 0,
                                .prompt_logprobs = wanted.request.prompt_logprobs})
              : ErrorJson(wanted.index, wanted.choice, completion.error);
      absl::PrintF("%s\n", line);
    } else {
      absl::PrintF("\n");
    }
    std::fflush(stdout);
    StartText(number + 1);
  }

  bool failed() const { return failed_; }

 private:
  void StartText(size_t number) {
    text_.clear();
    if (tokenizer_ == nullptr || number == wanted_.size()) return;
    completion_text_.emplace(*tokenizer_, wanted_[number].request, /*keep_special=*/true);
    Emit(wanted_[number].echo);
  }
  void Emit(const std::string& text) {
    text_ += text;
    if (json_ || text.empty()) return;
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
  }

  const bool json_;
  const std::vector<Wanted> wanted_;
  const Tokenizer* tokenizer_;
  std::optional<CompletionText> completion_text_;
  std::string text_;
  bool failed_ = false;
};

absl::StatusOr<bool> Lead(GroupSession& session, const GenerateFlags& flags) {
  const auto& tokenizer = session.tokenizer();
  // Without one, text stays empty.
  if (!tokenizer.ok() && !absl::IsNotFound(tokenizer.status())) return tokenizer.status();
  const Tokenizer* loaded = tokenizer.ok() ? tokenizer->get() : nullptr;
  const ServedModel model{.name = {},
                          .vocabulary = session.config().vocabulary,
                          .max_positions = 0,
                          .stop_tokens = session.config().stop_tokens};
  TRI_ASSIGN_OR_RETURN(const std::vector<AcceptedRequest> prompts,
                       ReadPrompts(flags.prompts, flags.defaults, model, loaded));
  std::vector<Wanted> wanted = CompletionsOf(prompts);
  std::vector<Request> requests;
  for (const Wanted& one : wanted) requests.push_back(one.request);
  Printer printer(flags.output == "json", std::move(wanted), loaded);
  const BatchSink sink{
      .on_token = [&](size_t, const SampledToken& token) { printer.OnToken(token); },
      .on_done = [&](size_t number,
                     const Completion& completion) { printer.OnDone(number, completion); }};
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
