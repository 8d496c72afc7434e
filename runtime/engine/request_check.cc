#include "runtime/engine/request_check.h"

#include <cmath>
#include <string_view>
#include <unordered_set>

#include "absl/strings/str_format.h"
#include "runtime/base/status_macros.h"
#include "runtime/sampling/sampler.h"
#include "runtime/text/detokenizer.h"

namespace trireme {
namespace {

absl::Status CheckTokens(const std::vector<int32_t>& tokens, std::string_view what,
                         int64_t vocabulary) {
  for (const int32_t token : tokens) {
    if (token < 0 || token >= vocabulary) {
      return absl::InvalidArgumentError(
          absl::StrFormat("%s holds token id %d; ids must be in [0, %d)", what, token, vocabulary));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckLength(const Request& request, const EngineOptions& options) {
  const auto prompt = static_cast<int64_t>(request.prompt.size());
  if (prompt == 0)
    return absl::InvalidArgumentError("the prompt is empty; give at least one token");
  if (request.max_tokens < 1) {
    return absl::InvalidArgumentError(
        absl::StrFormat("max_tokens must be at least 1; got %d", request.max_tokens));
  }
  const int64_t positions = prompt + request.max_tokens - 1;
  if (positions > options.max_positions) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "the prompt (%d tokens) and max_tokens (%d) exceed the context of %d positions", prompt,
        request.max_tokens, options.max_positions));
  }
  const int64_t kv_positions = KvPositions(options);
  if (positions > kv_positions) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "the prompt (%d tokens) and max_tokens (%d) exceed the KV cache of %d positions", prompt,
        request.max_tokens, kv_positions));
  }
  if (request.first_draw > request.prompt.size()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("the prompt of %d tokens cannot hold %d tokens of the completion", prompt,
                        request.first_draw));
  }
  const int64_t most = int64_t{request.first_draw} + request.max_tokens;
  if (request.min_tokens < 0 || request.min_tokens > most) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "min_tokens must be in [0, %d] (max_tokens); got %d", most, request.min_tokens));
  }
  return absl::OkStatus();
}

absl::Status CheckBiases(const Request& request, int64_t vocabulary) {
  std::unordered_set<int32_t> seen;
  for (const TokenBias& bias : request.logit_bias) {
    TRI_RETURN_IF_ERROR(CheckTokens({bias.token}, "logit_bias", vocabulary));
    if (!seen.insert(bias.token).second) {
      return absl::InvalidArgumentError(
          absl::StrFormat("logit_bias names token id %d twice", bias.token));
    }
    if (std::isnan(bias.bias) || bias.bias == INFINITY) {
      return absl::InvalidArgumentError(
          absl::StrFormat("logit_bias of token id %d must be a number below infinity; got %g",
                          bias.token, bias.bias));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckGrammar(const Request& request, const EngineOptions& options) {
  if (!request.grammar.constrained() || options.grammars != nullptr) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("%s output needs a tokenizer, and this model came without one",
                      std::string(GrammarKindName(request.grammar.kind))));
}

absl::Status CheckStops(const Request& request, const EngineOptions& options) {
  TRI_RETURN_IF_ERROR(CheckTokens(request.stop_tokens, "stop_tokens", options.vocabulary));
  if (request.stop_strings.empty()) return absl::OkStatus();
  if (options.tokenizer == nullptr) {
    return absl::InvalidArgumentError(
        "stop strings need a tokenizer, and this model came without one; use stop tokens");
  }
  for (const std::string& stop : request.stop_strings) {
    if (stop.empty() || !IsValidUtf8(stop)) {
      return absl::InvalidArgumentError("a stop string must be valid UTF-8 and not empty");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckRequest(const Request& request, const EngineOptions& options) {
  TRI_RETURN_IF_ERROR(CheckLength(request, options));
  TRI_RETURN_IF_ERROR(CheckTokens(request.prompt, "the prompt", options.vocabulary));
  TRI_RETURN_IF_ERROR(CheckStops(request, options));
  TRI_RETURN_IF_ERROR(CheckGrammar(request, options));
  TRI_RETURN_IF_ERROR(CheckBiases(request, options.vocabulary));
  if (request.num_logprobs < -1 || request.num_logprobs > options.vocabulary) {
    return absl::InvalidArgumentError(absl::StrFormat("logprobs must be in [0, %d]; got %d",
                                                      options.vocabulary, request.num_logprobs));
  }
  return ValidateSamplingParams(request.sampling);
}

}  // namespace trireme
