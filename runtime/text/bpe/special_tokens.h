// Special tokens ("<|eot_id|>") are found in text before any splitting or merging. At each place
// the earliest match wins, and the longest of those that begin there. Their texts are kept sorted,
// so a match is a range that narrows byte by byte: the scan costs one table look-up a byte where
// nothing begins, and at most the longest special token where something does.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace trireme {

// Whether the text of a special token in the input becomes that token. Only text that we ourselves
// render (a chat format's frame) is parsed; a user's never is.
enum class SpecialTokens { kAsText, kParse };

// A special token's place in a text, in bytes.
struct SpecialMatch {
  size_t begin = 0;
  size_t end = 0;
  int32_t id = 0;
};

class SpecialTokenScanner {
 public:
  // What a scan may cost a byte of text, in the worst case.
  static constexpr size_t kMaxTokenBytes = 256;

  // Texts are unique, not empty, and at most kMaxTokenBytes long (checked by the vocabulary's
  // loader).
  explicit SpecialTokenScanner(std::vector<std::pair<std::string, int32_t>> tokens);

  // The first match at or after `from`.
  std::optional<SpecialMatch> Find(std::string_view text, size_t from) const;

  std::optional<int32_t> Id(std::string_view token) const;

 private:
  std::optional<SpecialMatch> MatchAt(std::string_view text, size_t begin) const;

  std::vector<std::pair<std::string, int32_t>> tokens_;  // sorted by text
  std::array<bool, 256> begins_{};                       // bytes that some token begins with
};

}  // namespace trireme
