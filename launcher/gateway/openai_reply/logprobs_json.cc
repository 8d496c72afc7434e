#include "launcher/gateway/openai_reply/logprobs_json.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <utility>

namespace trireme {
namespace {

constexpr double kNever = -9999;

Json OneLogprob(const Tokenizer& tokenizer, const v1::TokenLogprob& logprob) {
  const std::string_view bytes = tokenizer.TokenBytes(logprob.token());
  Json list = Json::array();
  for (const char byte : bytes) list.push_back(static_cast<uint8_t>(byte));
  return {{"token", TextOf(tokenizer, logprob.token())},
          {"logprob", ShortNumber(logprob.logprob())},
          {"bytes", std::move(list)}};
}

size_t CodePoints(std::string_view text) {
  return static_cast<size_t>(
      std::ranges::count_if(text, [](char c) { return (static_cast<uint8_t>(c) & 0xC0) != 0x80; }));
}

}  // namespace

double ShortNumber(float value) {
  if (!std::isfinite(value)) return kNever;
  std::array<char, 32> text = {};
  const auto written = std::to_chars(text.data(), text.data() + text.size(), value);
  double number = value;
  std::from_chars(text.data(), written.ptr, number);
  return number;
}

std::string TextOf(const Tokenizer& tokenizer, int32_t token) {
  return tokenizer.Decode({&token, 1});
}

Json ChatLogprob(const Tokenizer& tokenizer, const v1::TokenLogprobs& logprobs) {
  Json json = OneLogprob(tokenizer, logprobs.chosen());
  Json& top = json["top_logprobs"] = Json::array();
  for (const v1::TokenLogprob& one : logprobs.top()) top.push_back(OneLogprob(tokenizer, one));
  return json;
}

void LegacyLogprobs::AddText(std::string text) {
  offsets_.push_back(offset_);
  offset_ += CodePoints(text);
  tokens_.push_back(std::move(text));
}

void LegacyLogprobs::AddFirst(const Tokenizer& tokenizer, int32_t token) {
  AddText(TextOf(tokenizer, token));
  token_logprobs_.push_back(nullptr);
  top_logprobs_.push_back(nullptr);
}

void LegacyLogprobs::Add(const Tokenizer& tokenizer, const v1::TokenLogprobs& logprobs) {
  const std::string text = TextOf(tokenizer, logprobs.chosen().token());
  token_logprobs_.push_back(ShortNumber(logprobs.chosen().logprob()));
  // Tokens of one text (parts of characters) share a key; the likelier one keeps it. The chosen one
  // is among them even where it is none of the most likely.
  Json& top = top_logprobs_.emplace_back(Json::object());
  for (const v1::TokenLogprob& one : logprobs.top()) {
    top.emplace(TextOf(tokenizer, one.token()), ShortNumber(one.logprob()));
  }
  if (logprobs.top_size() > 0) top.emplace(text, ShortNumber(logprobs.chosen().logprob()));
  AddText(text);
}

void LegacyLogprobs::Append(const LegacyLogprobs& more) {
  const auto append = [](Json& to, const Json& from) {
    to.insert(to.end(), from.begin(), from.end());
  };
  append(tokens_, more.tokens_);
  append(token_logprobs_, more.token_logprobs_);
  append(top_logprobs_, more.top_logprobs_);
  for (const Json& offset : more.offsets_) offsets_.push_back(offset.get<size_t>() + offset_);
  offset_ += more.offset_;
}

Json LegacyLogprobs::Take() {
  return {{"tokens", std::exchange(tokens_, Json::array())},
          {"token_logprobs", std::exchange(token_logprobs_, Json::array())},
          {"top_logprobs", std::exchange(top_logprobs_, Json::array())},
          {"text_offset", std::exchange(offsets_, Json::array())}};
}

}  // namespace trireme
