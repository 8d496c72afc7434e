// trireme detokenize: token ids → text, one JSON line each.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "launcher/command_line.h"
#include "launcher/commands.h"
#include "launcher/exit_codes.h"
#include "runtime/base/status_macros.h"
#include "runtime/text/tokenizer.h"

namespace trireme {
namespace {

absl::Status DetokenizeLine(const Tokenizer& tokenizer, const std::string& line) {
  const auto json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("ids") || !json["ids"].is_array()) {
    return absl::InvalidArgumentError(R"(expected {"ids": [1, 2, …]} on one line)");
  }
  std::vector<int32_t> ids;
  for (const auto& id : json["ids"]) {
    const int64_t value = id.is_number_integer() ? id.get<int64_t>() : -1;
    if (value < 0 || value >= tokenizer.vocab_size()) {
      return absl::InvalidArgumentError(absl::StrFormat("expected ids from 0 to %d; got %s",
                                                        tokenizer.vocab_size() - 1, id.dump()));
    }
    ids.push_back(static_cast<int32_t>(value));
  }
  absl::PrintF(
      "%s\n", nlohmann::json{{"text", tokenizer.Decode(ids)}}.dump(-1, ' ', /*ensure_ascii=*/true));
  return absl::OkStatus();
}

}  // namespace

int RunDetokenize(int argc, char** argv) {
  CLI::App app(
      "Prints the text of token ids: one {\"ids\":[…]} a line in, one {\"text\":\"…\"} a line out.",
      "trireme detokenize");
  std::string model, file;
  app.add_option("--model", model, "checkpoint or shard directory, GGUF or tokenizer file")
      ->required();
  app.add_option("--file", file, "lines to read (default: stdin)");
  app.footer(
      Examples("echo '{\"ids\":[19556,905]}' | trireme detokenize --model models/smollm2.gguf",
               "trireme detokenize --model models/llama3 --file ids.jsonl"));
  if (const auto exit = ParseCommandLine(app, argc, argv)) return *exit;

  const auto tokenizer = LoadTokenizer(model);
  if (!tokenizer.ok()) {
    return FailCommand("detokenize", tokenizer.status(),
                       "give --model a directory with tokenizer.json");
  }
  const absl::Status status =
      ForEachLine(file, [&](const std::string& line) { return DetokenizeLine(**tokenizer, line); });
  if (!status.ok()) return FailCommand("detokenize", status, "trireme detokenize --help");
  return kExitOk;
}

}  // namespace trireme
