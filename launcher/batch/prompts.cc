#include "launcher/batch/prompts.h"

#include <charconv>
#include <limits>
#include <nlohmann/json.hpp>

#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "launcher/command_line.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

using nlohmann::json;

absl::StatusOr<std::vector<int32_t>> ParseIds(const std::string& text) {
  std::vector<int32_t> ids;
  for (const auto part : absl::StrSplit(text, ',')) {
    int32_t id = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), id);
    if (error != std::errc() || end != part.data() + part.size()) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "--prompt-tokens takes ids separated by commas; found \"%s\"", std::string(part)));
    }
    ids.push_back(id);
  }
  return ids;
}

absl::StatusOr<std::vector<int32_t>> Encode(const std::string& text, bool parse_special,
                                            const Tokenizer* tokenizer) {
  if (tokenizer == nullptr) {
    return absl::InvalidArgumentError(
        "the model has no tokenizer files; give the prompt as token ids");
  }
  return tokenizer->Encode(text, parse_special ? SpecialTokens::kParse : SpecialTokens::kAsText);
}

absl::StatusOr<std::vector<int32_t>> IdsOf(const json& list) {
  std::vector<int32_t> ids;
  for (const json& id : list) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 ||
        id.get<int64_t>() > std::numeric_limits<int32_t>::max()) {
      return absl::InvalidArgumentError("\"prompt_tokens\" must be a list of token ids");
    }
    ids.push_back(id.get<int32_t>());
  }
  return ids;
}

absl::Status ReadOverrides(const json& line, Request& request) {
  if (const auto value = line.find("max_tokens"); value != line.end()) {
    if (!value->is_number_integer() || value->get<int64_t>() < 1 ||
        value->get<int64_t>() > std::numeric_limits<int32_t>::max()) {
      return absl::InvalidArgumentError("\"max_tokens\" must be a positive integer");
    }
    request.max_tokens = value->get<int32_t>();
  }
  if (const auto value = line.find("seed"); value != line.end()) {
    if (!value->is_number_unsigned()) {
      return absl::InvalidArgumentError("\"seed\" must be a non-negative integer");
    }
    request.sampling.seed = value->get<uint64_t>();
  }
  if (const auto value = line.find("temperature"); value != line.end()) {
    if (!value->is_number()) return absl::InvalidArgumentError("\"temperature\" must be a number");
    request.sampling.temperature = value->get<float>();
  }
  return absl::OkStatus();
}

absl::StatusOr<Request> RequestOf(const std::string& text, const Request& defaults,
                                  const PromptFlags& flags, const Tokenizer* tokenizer) {
  const json line = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!line.is_object()) return absl::InvalidArgumentError("a line must be a JSON object");
  for (const auto& [key, value] : line.items()) {
    if (key != "prompt" && key != "prompt_tokens" && key != "max_tokens" && key != "seed" &&
        key != "temperature") {
      return absl::InvalidArgumentError(absl::StrFormat(
          "unknown key \"%s\"; known are prompt, prompt_tokens, max_tokens, seed, temperature",
          key));
    }
  }
  Request request = defaults;
  const bool has_text = line.contains("prompt");
  if (has_text == line.contains("prompt_tokens")) {
    return absl::InvalidArgumentError("a line needs either \"prompt\" or \"prompt_tokens\"");
  }
  if (has_text) {
    if (!line["prompt"].is_string()) {
      return absl::InvalidArgumentError("\"prompt\" must be a string");
    }
    TRI_ASSIGN_OR_RETURN(request.prompt,
                         Encode(line["prompt"].get<std::string>(), flags.parse_special, tokenizer));
  } else {
    if (!line["prompt_tokens"].is_array()) {
      return absl::InvalidArgumentError("\"prompt_tokens\" must be a list of token ids");
    }
    TRI_ASSIGN_OR_RETURN(request.prompt, IdsOf(line["prompt_tokens"]));
  }
  TRI_RETURN_IF_ERROR(ReadOverrides(line, request));
  return request;
}

}  // namespace

absl::StatusOr<std::vector<Request>> ReadPrompts(const PromptFlags& flags, const Request& defaults,
                                                 const Tokenizer* tokenizer) {
  std::vector<Request> requests;
  if (!flags.prompts_file.empty()) {
    TRI_RETURN_IF_ERROR(
        ForEachLine(flags.prompts_file, [&](const std::string& line) -> absl::Status {
          TRI_ASSIGN_OR_RETURN(Request request, RequestOf(line, defaults, flags, tokenizer));
          requests.push_back(std::move(request));
          return absl::OkStatus();
        }));
    return requests;
  }
  Request request = defaults;
  if (!flags.prompt_tokens.empty()) {
    TRI_ASSIGN_OR_RETURN(request.prompt, ParseIds(flags.prompt_tokens));
  } else {
    TRI_ASSIGN_OR_RETURN(request.prompt, Encode(flags.prompt, flags.parse_special, tokenizer));
  }
  requests.push_back(std::move(request));
  return requests;
}

}  // namespace trireme
