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

}  // namespace

std::string CompletionJson(size_t index, const std::vector<int32_t>& prompt,
                           const Completion& completion, std::string_view text, bool logprobs) {
  std::vector<int32_t> tokens;
  for (const SampledToken& token : completion.tokens) tokens.push_back(token.token);
  std::string out = "{\"index\":" + std::to_string(index) + ",\"prompt_tokens\":";
  AppendIds(prompt, out);
  out += ",\"tokens\":";
  AppendIds(tokens, out);
  out += ",\"text\":";
  AppendText(text, out);
  if (logprobs) {
    out += ",\"logprobs\":";
    AppendList(std::span<const SampledToken>(completion.tokens), out,
               [&](const SampledToken& token) { AppendLogprobs(token, out); });
  }
  out += ",\"finish_reason\":\"";
  out += completion.finish == FinishReason::kStop ? "stop" : "length";
  out += "\",\"usage\":{\"prompt_tokens\":" + std::to_string(prompt.size()) +
         ",\"completion_tokens\":" + std::to_string(tokens.size()) + "}}";
  return out;
}

std::string ErrorJson(size_t index, const absl::Status& error) {
  std::string out = "{\"index\":" + std::to_string(index) + ",\"error\":{\"code\":\"" +
                    absl::StatusCodeToString(error.code()) + "\",\"message\":";
  AppendText(std::string(error.message()), out);
  return out + "}}";
}

}  // namespace trireme
