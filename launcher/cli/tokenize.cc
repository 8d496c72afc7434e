// trireme tokenize: text → token ids, one JSON line each.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/str_format.h"
#include "launcher/command_line.h"
#include "launcher/commands.h"
#include "launcher/exit_codes.h"
#include "runtime/base/status_macros.h"
#include "runtime/text/tokenizer.h"

namespace trireme {
namespace {

absl::Status TokenizeLine(const Tokenizer& tokenizer, const std::string& line) {
  const auto json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
  const bool known = json.is_object() && json.contains("text") && json["text"].is_string() &&
                     (!json.contains("special") || json["special"].is_boolean());
  if (!known) {
    return absl::InvalidArgumentError(
        R"(expected {"text": "…", "special": true|false} on one line)");
  }
  const bool special = json.contains("special") && json["special"].get<bool>();
  TRI_ASSIGN_OR_RETURN(const std::vector<int32_t> ids,
                       tokenizer.Encode(json["text"].get_ref<const std::string&>(),
                                        special ? SpecialTokens::kParse : SpecialTokens::kAsText));
  absl::PrintF("%s\n", nlohmann::json{{"ids", ids}}.dump());
  return absl::OkStatus();
}

}  // namespace

int RunTokenize(int argc, char** argv) {
  CLI::App app(
      "Prints the token ids of texts: one {\"text\":\"…\",\"special\":false} a line in, one "
      "{\"ids\":[…]} a line out.",
      "trireme tokenize");
  std::string model, file;
  app.add_option("--model", model, "checkpoint or shard directory, GGUF or tokenizer file")
      ->required();
  app.add_option("--file", file, "lines to read (default: stdin)");
  app.footer(Examples("echo '{\"text\":\"Hello\"}' | trireme tokenize --model models/smollm2.gguf",
                      "trireme tokenize --model models/llama3 --file texts.jsonl"));
  if (const auto exit = ParseCommandLine(app, argc, argv)) return *exit;

  const auto tokenizer = LoadTokenizer(model);
  if (!tokenizer.ok()) {
    return FailCommand("tokenize", tokenizer.status(),
                       "give --model a directory with tokenizer.json");
  }
  const absl::Status status =
      ForEachLine(file, [&](const std::string& line) { return TokenizeLine(**tokenizer, line); });
  if (!status.ok()) return FailCommand("tokenize", status, "trireme tokenize --help");
  return kExitOk;
}

}  // namespace trireme
