#include "launcher/batch/prompts.h"

#include <charconv>

#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "launcher/batch/request_json.h"
#include "launcher/command_line.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

absl::Status ParseIds(const std::string& text, v1::TokenIds& ids) {
  for (const auto part : absl::StrSplit(text, ',')) {
    int32_t id = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), id);
    if (error != std::errc() || end != part.data() + part.size()) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "--prompt-tokens takes ids separated by commas; found \"%s\"", std::string(part)));
    }
    ids.add_ids(id);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<AcceptedRequest>> ReadPrompts(const PromptFlags& flags,
                                                         const v1::GenerateRequest& defaults,
                                                         const ServedModel& model,
                                                         const Tokenizer* tokenizer) {
  const AdmissionDefaults admission{
      .special = flags.parse_special ? SpecialTokens::kParse : SpecialTokens::kAsText,
      .max_logprobs = kMaxBatchLogprobs};
  std::vector<AcceptedRequest> prompts;
  const auto admit = [&](const v1::GenerateRequest& request) -> absl::Status {
    TRI_ASSIGN_OR_RETURN(AcceptedRequest accepted,
                         AdmitGenerate(request, model, tokenizer, admission));
    prompts.push_back(std::move(accepted));
    return absl::OkStatus();
  };
  const auto read_line = [&](const std::string& line) -> absl::Status {
    v1::GenerateRequest request = defaults;
    TRI_RETURN_IF_ERROR(ReadRequestJson(line, request));
    return admit(request);
  };
  if (!flags.prompts_file.empty()) {
    TRI_RETURN_IF_ERROR(ForEachLine(flags.prompts_file, read_line));
    return prompts;
  }
  v1::GenerateRequest request = defaults;
  if (!flags.prompt_tokens.empty()) {
    TRI_RETURN_IF_ERROR(ParseIds(flags.prompt_tokens, *request.mutable_prompt_tokens()));
  } else {
    request.set_prompt(flags.prompt);
  }
  TRI_RETURN_IF_ERROR(admit(request));
  return prompts;
}

}  // namespace trireme
