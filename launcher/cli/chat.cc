// trireme chat: a conversation with a served model, in the terminal.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <stop_token>
#include <string>

#include "absl/strings/str_format.h"
#include "launcher/client/client_flags.h"
#include "launcher/client/inference_client.h"
#include "launcher/command_line.h"
#include "launcher/commands.h"
#include "launcher/exit_codes.h"
#include "launcher/request/request_flags.h"

namespace trireme {
namespace {

struct ChatFlags {
  ClientOptions client;
  std::string prompt;
  std::string system;
  v1::ChatRequest request;  // all but the messages
  int64_t timeout_s = 600;
  bool stats = false;
};

void AddFlags(CLI::App& app, ChatFlags& flags) {
  AddClientFlags(app, flags.client);
  app.add_option("--prompt", flags.prompt, "ask this, print the answer alone, and leave");
  app.add_option("--system", flags.system, "what the model should be told first");
  app.add_option_function<int32_t>(
         "--max-tokens", [&](int32_t value) { flags.request.set_max_tokens(value); },
         "of an answer (default: what the context holds)")
      ->check(CLI::Range(1, 1 << 24));
  AddRequestFlags(app, flags.request);
  app.add_option("--timeout", flags.timeout_s, "seconds for one answer")
      ->check(CLI::Range(1, 86'400))
      ->capture_default_str();
  app.add_flag("--stats", flags.stats, "tokens/s on stderr after each answer");
  app.footer(Examples(
      "trireme chat",
      "trireme chat --server 127.0.0.1:50051 --prompt \"Tell me about triremes.\" --stats"));
}

using Clock = std::chrono::steady_clock;

double Seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

// When the tokens of one answer came.
class Stopwatch {
 public:
  void OnTokens(int count) {
    if (tokens_ == 0) first_ = Clock::now();
    tokens_ += count;
    last_ = Clock::now();
  }
  void Print() const {
    // The first token's time is the prompt's; the rate is of the others.
    const double decode_s = Seconds(last_ - first_);
    const double rate = tokens_ > 1 && decode_s > 0 ? (tokens_ - 1) / decode_s : 0;
    absl::FPrintF(stderr, "%d tokens, %.1f tokens/s, first after %.3f s\n", tokens_, rate,
                  tokens_ == 0 ? 0.0 : Seconds(first_ - start_));
  }

 private:
  const Clock::time_point start_ = Clock::now();
  Clock::time_point first_ = start_;
  Clock::time_point last_ = start_;
  int tokens_ = 0;
};

class Conversation {
 public:
  explicit Conversation(const ChatFlags& flags)
      : flags_(flags), client_(flags.client), request_(flags.request) {
    if (!flags.system.empty()) Add("system", flags.system);
  }

  // Streams the answer to stdout and remembers both turns.
  absl::Status Ask(const std::string& question) {
    Add("user", question);
    std::string answer;
    Stopwatch stopwatch;
    const absl::Status status =
        client_.Chat(request_, Deadline::After(std::chrono::seconds(flags_.timeout_s)),
                     std::stop_token(), [&](const v1::GenerateResponse& chunk) {
                       if (chunk.tokens_size() > 0) stopwatch.OnTokens(chunk.tokens_size());
                       answer += chunk.text();
                       std::fwrite(chunk.text().data(), 1, chunk.text().size(), stdout);
                       std::fflush(stdout);
                     });
    if (status.ok() || !answer.empty()) absl::PrintF("\n");
    std::fflush(stdout);
    if (!status.ok()) {
      request_.mutable_messages()->RemoveLast();
      return status;
    }
    Add("assistant", answer);
    if (flags_.stats) stopwatch.Print();
    return absl::OkStatus();
  }

 private:
  void Add(const std::string& role, const std::string& content) {
    v1::ChatMessage* message = request_.add_messages();
    message->set_role(role);
    message->set_content(content);
  }

  const ChatFlags& flags_;
  InferenceClient client_;
  v1::ChatRequest request_;
};

int Fail(const absl::Status& status) {
  return FailCommand("chat",
                     absl::IsInvalidArgument(status)
                         ? absl::FailedPreconditionError(std::string(status.message()))
                         : status,
                     absl::IsUnavailable(status) ? "trireme status, or trireme serve CONFIG"
                                                 : "trireme chat --help");
}

// Lines of stdin are questions; on a terminal with a prompt sign, and an error does not end the
// conversation.
int Converse(const ChatFlags& flags) {
  const bool terminal = isatty(STDIN_FILENO) != 0;
  if (terminal) absl::FPrintF(stderr, "Ask away; an empty line or Ctrl-D ends.\n");
  Conversation conversation(flags);
  std::string line;
  while (true) {
    if (terminal) absl::FPrintF(stderr, "> ");
    if (!std::getline(std::cin, line)) break;
    if (line.empty()) {
      if (terminal) break;
      continue;
    }
    const absl::Status status = conversation.Ask(line);
    if (status.ok()) continue;
    const int exit_code = Fail(status);
    if (!terminal) return exit_code;
  }
  return kExitOk;
}

}  // namespace

int RunChat(int argc, char** argv) {
  CLI::App app("Talks with a served model, with the model's own chat format.", "trireme chat");
  ChatFlags flags;
  AddFlags(app, flags);
  if (const auto exit = ParseCommandLine(app, argc, argv)) return *exit;
  if (app.count("--prompt") == 0) return Converse(flags);
  const absl::Status status = Conversation(flags).Ask(flags.prompt);
  return status.ok() ? kExitOk : Fail(status);
}

}  // namespace trireme
