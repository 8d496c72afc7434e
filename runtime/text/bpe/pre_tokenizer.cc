#define PCRE2_CODE_UNIT_WIDTH 8
#include "runtime/text/bpe/pre_tokenizer.h"

#include <pcre2.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <utility>

#include "absl/strings/str_format.h"
#include "runtime/base/deadline.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

// Unicode White_Space, as the inside of a character class.
constexpr std::string_view kWhiteSpace =
    R"(\x{09}-\x{0d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";

// Steps (PCRE2 counts one for each point it comes back to) that a pattern not known to be linear
// may take. An attempt starts with few and gets four times as many when they do not suffice, so
// what it took is known within that factor and charged to the whole text's account.
constexpr uint32_t kFirstSteps = 64;
constexpr uint64_t kStepsPerByte = 64;
constexpr uint64_t kMinSteps = 10'000;
// Plain scanning ("a*+") is not counted as steps, so the clock is looked at too, between attempts:
// each is short until the text has used up many steps.
constexpr int64_t kMinMilliseconds = 1000;
constexpr int64_t kMillisecondsPerMiB = 2000;
constexpr uint32_t kMatchesPerClockCheck = 64;
constexpr uint32_t kHeapLimitKib = 64 * 1024;

constexpr std::string_view kLinearPatterns[] = {kGpt2Pattern, kLlama3Pattern, kLlama4Pattern,
                                                kSingleDigitPattern, kDigitsPattern};

struct FreeCode {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
struct FreeResults {
  void operator()(pcre2_match_data* match) const { pcre2_match_data_free(match); }
};
struct FreeLimits {
  void operator()(pcre2_match_context* limits) const { pcre2_match_context_free(limits); }
};

std::string Pcre2Message(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

bool IsLinear(std::string_view pattern) {
  return std::find(std::begin(kLinearPatterns), std::end(kLinearPatterns), pattern) !=
         std::end(kLinearPatterns);
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
  bool linear = false;  // compiled to machine code, and needs no account
};

// What one Split needs besides the compiled patterns: match results, limits and a stack, so that
// any number of threads may split at once.
class PreTokenizer::Matching {
 public:
  Matching(const std::vector<Pattern>& patterns, size_t text_bytes,
           absl::FunctionRef<void(std::string_view)> piece)
      : patterns_(patterns),
        piece_(piece),
        steps_left_(kMinSteps + kStepsPerByte * text_bytes),
        deadline_(Deadline::AfterMs(kMinMilliseconds +
                                    static_cast<int64_t>(text_bytes >> 20) * kMillisecondsPerMiB)),
        limits_(pcre2_match_context_create(nullptr)) {
    for (const Pattern& pattern : patterns_) {
      results_.emplace_back(pcre2_match_data_create_from_pattern(pattern.code.get(), nullptr));
    }
    if (limits_ != nullptr) pcre2_set_heap_limit(limits_.get(), kHeapLimitKib);
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
    const int code = pattern.linear ? Try(pattern, text, from, result, UINT32_MAX)
                                    : TryWithinAccount(pattern, text, from, result);
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

  int Try(const Pattern& pattern, std::string_view text, size_t from, pcre2_match_data* result,
          uint32_t steps) {
    pcre2_set_match_limit(limits_.get(), steps);
    const auto match = [&](uint32_t options) {
      return pcre2_match(pattern.code.get(), AsUnits(text), text.size(), from,
                         PCRE2_NO_UTF_CHECK | options, result, limits_.get());
    };
    const int code = match(0);
    // The interpreter keeps its frames on the heap.
    return code == PCRE2_ERROR_JIT_STACKLIMIT ? match(PCRE2_NO_JIT) : code;
  }

  int TryWithinAccount(const Pattern& pattern, std::string_view text, size_t from,
                       pcre2_match_data* result) {
    if (++matches_ % kMatchesPerClockCheck == 0 && deadline_.Passed()) {
      return PCRE2_ERROR_MATCHLIMIT;
    }
    uint64_t steps = kFirstSteps;
    int code = Try(pattern, text, from, result, kFirstSteps);
    while (code == PCRE2_ERROR_MATCHLIMIT && steps <= steps_left_ && !deadline_.Passed()) {
      steps_left_ -= steps;
      steps = std::min<uint64_t>(steps * 4, UINT32_MAX);
      code = Try(pattern, text, from, result, static_cast<uint32_t>(steps));
    }
    return code;
  }

  const std::vector<Pattern>& patterns_;
  absl::FunctionRef<void(std::string_view)> piece_;
  uint64_t steps_left_;
  Deadline deadline_;
  uint32_t matches_ = 0;  // within the account
  std::unique_ptr<pcre2_match_context, FreeLimits> limits_;
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
    Pattern pattern{.code = nullptr, .source = source, .linear = IsLinear(source)};
    pattern.code.reset(pcre2_compile(AsUnits(translated), translated.size(),
                                     PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error,
                                     &offset, nullptr));
    if (pattern.code == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrFormat("the pre-tokenizer pattern \"%s\" does not compile: %s (at offset %d of "
                          "\"%s\")",
                          source, Pcre2Message(error), offset, translated));
    }
    // Where there is no JIT, the interpreter gives the same matches.
    if (pattern.linear) pcre2_jit_compile(pattern.code.get(), PCRE2_JIT_COMPLETE);
    pre_tokenizer.patterns_.push_back(std::move(pattern));
  }
  return pre_tokenizer;
}

absl::Status PreTokenizer::Split(std::string_view text,
                                 absl::FunctionRef<void(std::string_view)> piece) const {
  return Matching(patterns_, text.size(), piece).Split(0, text);
}

}  // namespace trireme
