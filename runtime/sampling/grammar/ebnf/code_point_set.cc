#include "runtime/sampling/grammar/ebnf/code_point_set.h"

#include <algorithm>

#include "absl/strings/str_format.h"
#include "runtime/base/check.h"

namespace trireme {
namespace {

constexpr uint32_t kFirstSurrogate = 0xD800;
constexpr uint32_t kLastSurrogate = 0xDFFF;

bool IsPlain(uint32_t code_point) {
  return (code_point >= 'a' && code_point <= 'z') || (code_point >= 'A' && code_point <= 'Z') ||
         (code_point >= '0' && code_point <= '9') || code_point == '_' || code_point == ' ';
}

// ASCII only, so that the text can stand anywhere: "\\u00e9".
std::string EbnfCharacter(uint32_t code_point) {
  if (IsPlain(code_point)) return std::string(1, static_cast<char>(code_point));
  return code_point <= 0xFFFF ? absl::StrFormat("\\u%04x", code_point)
                              : absl::StrFormat("\\U%08x", code_point);
}

}  // namespace

std::string RegexCharacter(uint32_t code_point) {
  if (IsPlain(code_point)) return std::string(1, static_cast<char>(code_point));
  if (code_point < 0x20 || code_point == 0x7F) return absl::StrFormat("\\x%02x", code_point);
  if (code_point < 0x80) return {'\\', static_cast<char>(code_point)};
  return absl::StrFormat("\\u{%x}", code_point);
}

std::string EbnfLiteral(std::string_view text) {
  std::string quoted = "\"";
  for (size_t at = 0; at < text.size();) quoted += EbnfCharacter(NextCodePoint(text, at));
  return quoted + "\"";
}

CodePointSet::CodePointSet(std::vector<std::pair<uint32_t, uint32_t>> ranges)
    : ranges_(std::move(ranges)) {
  Normalize();
}

void CodePointSet::Add(const CodePointSet& other) {
  ranges_.insert(ranges_.end(), other.ranges_.begin(), other.ranges_.end());
  Normalize();
}

void CodePointSet::Normalize() {
  std::vector<std::pair<uint32_t, uint32_t>> cut;
  for (const auto& [first, last] : ranges_) {
    if (first < kFirstSurrogate) cut.emplace_back(first, std::min(last, kFirstSurrogate - 1));
    if (last > kLastSurrogate)
      cut.emplace_back(std::max(first, kLastSurrogate + 1), std::min(last, kLast));
  }
  std::sort(cut.begin(), cut.end());
  ranges_.clear();
  for (const auto& range : cut) {
    if (range.first > range.second) continue;
    if (!ranges_.empty() && range.first <= ranges_.back().second + 1) {
      ranges_.back().second = std::max(ranges_.back().second, range.second);
    } else {
      ranges_.push_back(range);
    }
  }
}

CodePointSet CodePointSet::Complement() const {
  std::vector<std::pair<uint32_t, uint32_t>> gaps;
  uint32_t next = 0;
  for (const auto& [first, last] : ranges_) {
    if (first > next) gaps.emplace_back(next, first - 1);
    next = last + 1;
  }
  if (next <= kLast) gaps.emplace_back(next, kLast);
  return CodePointSet(std::move(gaps));
}

CodePointSet CodePointSet::Intersection(const CodePointSet& other) const {
  std::vector<std::pair<uint32_t, uint32_t>> both;
  for (const auto& [first, last] : ranges_) {
    for (const auto& [other_first, other_last] : other.ranges_) {
      const uint32_t low = std::max(first, other_first);
      const uint32_t high = std::min(last, other_last);
      if (low <= high) both.emplace_back(low, high);
    }
  }
  return CodePointSet(std::move(both));
}

bool CodePointSet::Contains(uint32_t code_point) const {
  return std::any_of(ranges_.begin(), ranges_.end(), [code_point](const auto& range) {
    return range.first <= code_point && code_point <= range.second;
  });
}

int64_t CodePointSet::Single() const {
  if (ranges_.size() != 1 || ranges_[0].first != ranges_[0].second) return -1;
  return ranges_[0].first;
}

int64_t CodePointSet::Cost() const {
  int64_t ascii = 0;
  for (const auto& [first, last] : ranges_) {
    if (first < 0x80) ascii += std::min<int64_t>(last, 0x7F) - first + 1;
  }
  return ascii + (ranges_.empty() || ranges_.back().second < 0x80 ? 0 : 10);
}

std::string CodePointSet::RegexClass() const {
  TRI_CHECK(!ranges_.empty());
  std::string text = "[";
  for (const auto& [first, last] : ranges_) {
    text += RegexCharacter(first);
    if (last > first) text += "-" + RegexCharacter(last);
  }
  return text + "]";
}

}  // namespace trireme
