#include "runtime/text/bpe/special_tokens.h"

#include <algorithm>

#include "runtime/base/check.h"

namespace trireme {

SpecialTokenScanner::SpecialTokenScanner(std::vector<std::pair<std::string, int32_t>> tokens)
    : tokens_(std::move(tokens)) {
  std::sort(tokens_.begin(), tokens_.end());
  for (const auto& [text, id] : tokens_) {
    TRI_CHECK(!text.empty() && text.size() <= kMaxTokenBytes) << "special token " << id;
    begins_[static_cast<uint8_t>(text[0])] = true;
  }
}

std::optional<SpecialMatch> SpecialTokenScanner::MatchAt(std::string_view text,
                                                         size_t begin) const {
  std::optional<SpecialMatch> longest;
  auto low = tokens_.begin();
  auto high = tokens_.end();
  for (size_t depth = 0; begin + depth < text.size() && low != high; ++depth) {
    const auto byte = static_cast<uint8_t>(text[begin + depth]);
    // Every token in the range agrees with the text so far. One that ends here sorts first, as byte
    // -1.
    const auto byte_at = [depth](const std::string& token) {
      return depth < token.size() ? static_cast<int>(static_cast<uint8_t>(token[depth])) : -1;
    };
    low = std::partition_point(low, high,
                               [&](const auto& token) { return byte_at(token.first) < byte; });
    high = std::partition_point(low, high,
                                [&](const auto& token) { return byte_at(token.first) <= byte; });
    if (low != high && low->first.size() == depth + 1) {
      longest = SpecialMatch{begin, begin + depth + 1, low->second};
    }
  }
  return longest;
}

std::optional<SpecialMatch> SpecialTokenScanner::Find(std::string_view text, size_t from) const {
  if (tokens_.empty()) return std::nullopt;
  for (size_t at = from; at < text.size(); ++at) {
    if (!begins_[static_cast<uint8_t>(text[at])]) continue;
    if (const auto match = MatchAt(text, at)) return match;
  }
  return std::nullopt;
}

std::optional<int32_t> SpecialTokenScanner::Id(std::string_view token) const {
  const auto at = std::lower_bound(tokens_.begin(), tokens_.end(), token,
                                   [](const auto& a, std::string_view b) { return a.first < b; });
  if (at == tokens_.end() || at->first != token) return std::nullopt;
  return at->second;
}

}  // namespace trireme
