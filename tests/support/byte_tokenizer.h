// A tokenizer without files: token 0…255 is that byte, 256 is the special "<end>". For tests of
// what uses tokenizers.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/text/tokenizer.h"

namespace trireme {

class ByteTokenizer final : public Tokenizer {
 public:
  static constexpr int32_t kEnd = 256;

  ByteTokenizer() {
    for (size_t i = 0; i < bytes_.size(); ++i) bytes_[i] = static_cast<char>(i);
  }

  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text, SpecialTokens) const override {
    std::vector<int32_t> ids;
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }
  std::optional<SpecialMatch> FindSpecial(std::string_view, size_t) const override {
    return std::nullopt;
  }
  std::string_view TokenBytes(int32_t id) const override {
    if (id == kEnd) return "<end>";
    if (id < 0 || id > kEnd) return "";
    return {&bytes_[static_cast<size_t>(id)], 1};
  }
  int32_t vocab_size() const override { return kEnd + 1; }
  bool IsSpecial(int32_t id) const override { return id == kEnd; }
  std::optional<int32_t> SpecialId(std::string_view text) const override {
    return text == "<end>" ? std::optional<int32_t>(kEnd) : std::nullopt;
  }
  std::optional<int32_t> bos() const override { return std::nullopt; }
  std::optional<int32_t> eos() const override { return kEnd; }
  const std::string& chat_template() const override { return no_template_; }

 private:
  std::array<char, 256> bytes_{};
  std::string no_template_;
};

}  // namespace trireme
