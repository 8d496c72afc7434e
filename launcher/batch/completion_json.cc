#include "launcher/batch/completion_json.h"

#include <array>
#include <charconv>
#include <nlohmann/json.hpp>
#include <span>

namespace trireme {
namespace {

void AppendFloat(float value, std::string& out) {
  std::array<char, 32> buffer{};
  const auto [end, error] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
  out.append(buffer.data(), end);
}

void AppendText(std::string_view text, std::string& out) {
  out += nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

template <typename T, typename F>
void AppendList(std::span<const T> items, std::string& out, const F& append) {
  out += '[';
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out += ',';
    append(items[i]);
  }
  out += ']';
}

void AppendIds(std::span<const int32_t> ids, std::string& out) {
  AppendList(ids, out, [&](int32_t id) { out += std::to_string(id); });
}

void AppendLogprobs(const SampledToken& token, std::string& out) {
  out += "{\"token\":" + std::to_string(token.token) + ",\"logprob\":";
  AppendFloat(token.logprob, out);
  out += ",\"top\":[";
  for (size_t i = 0; i < token.top_tokens.size(); ++i) {
    if (i > 0) out += ',';
    out += '[' + std::to_string(token.top_tokens[i]) + ',';
    AppendFloat(token.top_logprobs[i], out);
    out += ']';
  }
  out += "]}";
}

void AppendLogprobsOf(std::string_view key, std::span<const SampledToken> tokens,
                      std::string& out) {
  out += ",\"" + std::string(key) + "\":";
  AppendList(tokens, out, [&](const SampledToken& token) { AppendLogprobs(token, out); });
}

void AppendIndex(size_t index, std::optional<size_t> choice, std::string& out) {
  out += "{\"index\":" + std::to_string(index);
  if (choice.has_value()) out += ",\"choice\":" + std::to_string(*choice);
}

}  // namespace

std::string CompletionJson(const CompletionLine& line) {
  const Completion& completion = line.completion;
  std::vector<int32_t> tokens;
  for (const SampledToken& token : completion.tokens) tokens.push_back(token.token);
  std::string out;
  AppendIndex(line.index, line.choice, out);
  out += ",\"prompt_tokens\":";
  AppendIds(line.prompt, out);
  out += ",\"tokens\":";
  AppendIds(tokens, out);
  out += ",\"text\":";
  AppendText(line.text, out);
  if (line.logprobs) AppendLogprobsOf("logprobs", completion.tokens, out);
  if (line.prompt_logprobs) AppendLogprobsOf("prompt_logprobs", completion.prompt_scores, out);
  out += ",\"finish_reason\":\"";
  out += completion.finish == FinishReason::kStop ? "stop" : "length";
  out += "\",\"usage\":{\"prompt_tokens\":" + std::to_string(line.prompt.size()) +
         ",\"completion_tokens\":" + std::to_string(tokens.size()) + "}}";
  return out;
}

std::string ErrorJson(size_t index, std::optional<size_t> choice, const absl::Status& error) {
  std::string out;
  AppendIndex(index, choice, out);
  out += ",\"error\":{\"code\":\"" + absl::StatusCodeToString(error.code()) + "\",\"message\":";
  AppendText(std::string(error.message()), out);
  return out + "}}";
}

}  // namespace trireme
