#define PCRE2_CODE_UNIT_WIDTH 8
#include "runtime/text/bpe/pre_tokenizer.h"

#include <pcre2.h>

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "absl/strings/str_format.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

// Unicode White_Space, as the inside of a character class.
constexpr std::string_view kWhiteSpace =
    R"(\x{09}-\x{0d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";

// PCRE2 counts a step for each backtracking point. The known patterns need at most two a byte
// (measured on runs of spaces, capitals and newlines); this leaves room without allowing quadratic
// work.
constexpr uint64_t kStepsPerByte = 64;
constexpr uint64_t kMinSteps = 100'000;
constexpr uint32_t kHeapLimitKib = 256 * 1024;
constexpr size_t kJitStackStart = size_t{32} * 1024;
constexpr size_t kJitStackMax = size_t{8} * 1024 * 1024;

struct FreeCode {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
struct FreeResults {
  void operator()(pcre2_match_data* match) const { pcre2_match_data_free(match); }
};
struct FreeLimits {
  void operator()(pcre2_match_context* limits) const { pcre2_match_context_free(limits); }
};
struct FreeJitStack {
  void operator()(pcre2_jit_stack* stack) const { pcre2_jit_stack_free(stack); }
};

std::string Pcre2Message(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

PCRE2_SPTR AsUnits(std::string_view text) { return reinterpret_cast<PCRE2_SPTR>(text.data()); }

// Bytes of the code point that begins at text[at].
size_t CodePointBytes(std::string_view text, size_t at) {
  size_t end = at + 1;
  while (end < text.size() && (static_cast<uint8_t>(text[end]) & 0xC0) == 0x80) ++end;
  return end - at;
}

}  // namespace

struct PreTokenizer::Pattern {
  std::unique_ptr<pcre2_code, FreeCode> code;
  std::string source;
};

// What one Split needs besides the compiled patterns: match results, limits and a stack, so that
// any number of threads may split at once.
class PreTokenizer::Matching {
 public:
  Matching(const std::vector<Pattern>& patterns, absl::FunctionRef<void(std::string_view)> piece)
      : patterns_(patterns), piece_(piece), limits_(pcre2_match_context_create(nullptr)) {
    stack_.reset(pcre2_jit_stack_create(kJitStackStart, kJitStackMax, nullptr));
    for (const Pattern& pattern : patterns_) {
      results_.emplace_back(pcre2_match_data_create_from_pattern(pattern.code.get(), nullptr));
    }
    if (limits_ == nullptr) return;
    pcre2_set_heap_limit(limits_.get(), kHeapLimitKib);
    if (stack_ != nullptr) pcre2_jit_stack_assign(limits_.get(), nullptr, stack_.get());
  }

  absl::Status Split(size_t level, std::string_view text) {
    if (text.empty()) return absl::OkStatus();
    if (level == patterns_.size()) {
      piece_(text);
      return absl::OkStatus();
    }
    size_t done = 0;  // everything before is in pieces
    size_t from = 0;  // where the next match is sought
    while (from < text.size()) {
      TRI_ASSIGN_OR_RETURN(const Match match, Find(level, text, from));
      if (!match.found) break;
      if (match.end == match.begin) {  // an empty match cuts nothing
        from = match.end + (match.end < text.size() ? CodePointBytes(text, match.end) : 1);
        continue;
      }
      TRI_RETURN_IF_ERROR(Split(level + 1, text.substr(done, match.begin - done)));
      TRI_RETURN_IF_ERROR(Split(level + 1, text.substr(match.begin, match.end - match.begin)));
      done = from = match.end;
    }
    return Split(level + 1, text.substr(done));
  }

 private:
  struct Match {
    bool found = false;
    size_t begin = 0;
    size_t end = 0;
  };

  absl::StatusOr<Match> Find(size_t level, std::string_view text, size_t from) {
    const Pattern& pattern = patterns_[level];
    pcre2_match_data* result = results_[level].get();
    if (result == nullptr || limits_ == nullptr) {
      return absl::ResourceExhaustedError("out of memory while splitting text");
    }
    const uint64_t steps = kMinSteps + kStepsPerByte * (text.size() - from);
    pcre2_set_match_limit(limits_.get(),
                          static_cast<uint32_t>(std::min<uint64_t>(steps, UINT32_MAX)));
    int code = pcre2_match(pattern.code.get(), AsUnits(text), text.size(), from, PCRE2_NO_UTF_CHECK,
                           result, limits_.get());
    if (code == PCRE2_ERROR_JIT_STACKLIMIT) {  // the interpreter keeps its frames on the heap
      code = pcre2_match(pattern.code.get(), AsUnits(text), text.size(), from,
                         PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, result, limits_.get());
    }
    if (code == PCRE2_ERROR_NOMATCH) return Match{};
    if (code < 0) {
      return absl::ResourceExhaustedError(absl::StrFormat(
          "the pre-tokenizer pattern \"%s\" gave up at byte %d of a text of %d bytes: %s; shorten "
          "the text or use a tokenizer whose pattern backtracks less",
          pattern.source, from, text.size(), Pcre2Message(code)));
    }
    const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(result);
    // \K can move the start of a match past its end, or before `from`: no reference pattern does.
    const size_t begin = std::max<size_t>(ends[0], from);
    return Match{.found = true, .begin = begin, .end = std::max<size_t>(ends[1], begin)};
  }

  const std::vector<Pattern>& patterns_;
  absl::FunctionRef<void(std::string_view)> piece_;
  std::unique_ptr<pcre2_match_context, FreeLimits> limits_;
  std::unique_ptr<pcre2_jit_stack, FreeJitStack> stack_;
  std::vector<std::unique_ptr<pcre2_match_data, FreeResults>> results_;
};

PreTokenizer::PreTokenizer() = default;
PreTokenizer::PreTokenizer(PreTokenizer&&) noexcept = default;
PreTokenizer& PreTokenizer::operator=(PreTokenizer&&) noexcept = default;
PreTokenizer::~PreTokenizer() = default;

absl::StatusOr<std::string> TranslatePattern(std::string_view pattern) {
  std::string translated;
  bool in_class = false;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c != '\\' || i + 1 == pattern.size()) {
      if (c == '[' && in_class && pattern.substr(i, 2) != "[:") {
        return absl::UnimplementedError(absl::StrFormat(
            "the pre-tokenizer pattern \"%s\" nests a character class at offset %d; expected plain "
            "classes",
            std::string(pattern), i));
      }
      if (c == '[') in_class = true;
      if (c == ']') in_class = false;
      translated += c;
      continue;
    }
    const char escaped = pattern[++i];
    if (escaped == 's') {
      translated += in_class ? std::string(kWhiteSpace) : absl::StrFormat("[%s]", kWhiteSpace);
    } else if (escaped == 'S' && !in_class) {
      translated += absl::StrFormat("[^%s]", kWhiteSpace);
    } else if (escaped == 'S') {
      return absl::UnimplementedError(absl::StrFormat(
          "the pre-tokenizer pattern \"%s\" has \\S in a character class at offset %d; expected it "
          "outside",
          std::string(pattern), i - 1));
    } else {
      translated += c;
      translated += escaped;
    }
  }
  return translated;
}

absl::StatusOr<PreTokenizer> PreTokenizer::Compile(const std::vector<std::string>& patterns) {
  if (patterns.size() > kMaxPatterns) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "the pre-tokenizer has %d steps; expected at most %d", patterns.size(), kMaxPatterns));
  }
  PreTokenizer pre_tokenizer;
  for (const std::string& source : patterns) {
    TRI_ASSIGN_OR_RETURN(const std::string translated, TranslatePattern(source));
    int error = 0;
    PCRE2_SIZE offset = 0;
    Pattern pattern{.code = nullptr, .source = source};
    pattern.code.reset(pcre2_compile(AsUnits(translated), translated.size(),
                                     PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error,
                                     &offset, nullptr));
    if (pattern.code == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrFormat("the pre-tokenizer pattern \"%s\" does not compile: %s (at offset %d of "
                          "\"%s\")",
                          source, Pcre2Message(error), offset, translated));
    }
    // Without JIT (a platform that lacks it) the interpreter gives the same matches.
    pcre2_jit_compile(pattern.code.get(), PCRE2_JIT_COMPLETE);
    pre_tokenizer.patterns_.push_back(std::move(pattern));
  }
  return pre_tokenizer;
}

absl::Status PreTokenizer::Split(std::string_view text,
                                 absl::FunctionRef<void(std::string_view)> piece) const {
  return Matching(patterns_, piece).Split(0, text);
}

}  // namespace trireme
