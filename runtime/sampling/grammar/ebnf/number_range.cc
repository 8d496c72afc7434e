#include "runtime/sampling/grammar/ebnf/number_range.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

constexpr int64_t kLargestInteger = 999'999'999'999'999;
constexpr double kLargestDecimal = 999'999'999.999999;

// A set of texts as EBNF alternatives; no text at all is not the empty text.
class Texts {
 public:
  static Texts None() { return Texts(); }
  static Texts Empty() { return Texts({"\"\""}); }
  static Texts Of(std::string ebnf) { return Texts({std::move(ebnf)}); }

  bool none() const { return alternatives_.empty(); }
  void Add(const Texts& other) {
    alternatives_.insert(alternatives_.end(), other.alternatives_.begin(),
                         other.alternatives_.end());
  }
  // Every text of it behind `prefix`.
  Texts Behind(std::string_view prefix) const {
    if (none()) return None();
    return Of(absl::StrFormat("%s %s", prefix, Ebnf()));
  }
  std::string Ebnf() const { return "(" + absl::StrJoin(alternatives_, " | ") + ")"; }

 private:
  Texts() = default;
  explicit Texts(std::vector<std::string> alternatives) : alternatives_(std::move(alternatives)) {}

  std::vector<std::string> alternatives_;
};

std::string DigitsBetween(char low, char high) {
  if (low == high) return absl::StrFormat("\"%c\"", low);
  return absl::StrFormat("[%c-%c]", low, high);
}

std::string AnyDigits(size_t count) {
  return count == 0 ? "\"\"" : absl::StrFormat("[0-9]{%d}", count);
}

bool AllZeros(std::string_view digits) {
  return digits.find_first_not_of('0') == std::string_view::npos;
}

char Next(char digit) { return static_cast<char>(digit + 1); }
char Before(char digit) { return static_cast<char>(digit - 1); }

// Digit strings as long as `low` and at least it; at most `high`; between two of equal length.
Texts SameLengthFrom(std::string_view low) {
  if (AllZeros(low)) return Texts::Of(AnyDigits(low.size()));
  Texts texts = SameLengthFrom(low.substr(1)).Behind(DigitsBetween(low[0], low[0]));
  if (low[0] < '9') {
    texts.Add(Texts::Of(DigitsBetween(Next(low[0]), '9') + " " + AnyDigits(low.size() - 1)));
  }
  return texts;
}

Texts SameLengthTo(std::string_view high) {
  if (high.find_first_not_of('9') == std::string_view::npos) {
    return Texts::Of(AnyDigits(high.size()));
  }
  Texts texts = SameLengthTo(high.substr(1)).Behind(DigitsBetween(high[0], high[0]));
  if (high[0] > '0') {
    texts.Add(Texts::Of(DigitsBetween('0', Before(high[0])) + " " + AnyDigits(high.size() - 1)));
  }
  return texts;
}

Texts SameLengthBetween(std::string_view low, std::string_view high) {
  if (low.empty()) return Texts::Empty();
  if (low[0] == high[0]) {
    return SameLengthBetween(low.substr(1), high.substr(1)).Behind(DigitsBetween(low[0], low[0]));
  }
  Texts texts = SameLengthFrom(low.substr(1)).Behind(DigitsBetween(low[0], low[0]));
  texts.Add(SameLengthTo(high.substr(1)).Behind(DigitsBetween(high[0], high[0])));
  if (Next(low[0]) <= Before(high[0])) {
    texts.Add(
        Texts::Of(DigitsBetween(Next(low[0]), Before(high[0])) + " " + AnyDigits(low.size() - 1)));
  }
  return texts;
}

// 0 <= low; none when low > high.
Texts NaturalBetween(int64_t low, int64_t high) {
  Texts texts = Texts::None();
  while (low <= high) {
    const std::string first = absl::StrFormat("%d", low);
    int64_t end = 1;
    for (size_t i = 0; i < first.size(); ++i) end *= 10;
    const int64_t last = std::min(high, end - 1);
    texts.Add(SameLengthBetween(first, absl::StrFormat("%d", last)));
    low = last + 1;
  }
  return texts;
}

// What may follow an integer part: nothing, or a point and digits. The digits that are needed to
// stay at or above (below) a bound's fraction, `exact` saying whether the bound itself counts.
Texts AnyFraction() {
  return Texts::Of(absl::StrFormat("(\"\" | \".\" [0-9]{1,%d})", kMaxFractionDigits));
}
std::string AnyMoreDigits() { return absl::StrFormat("[0-9]{0,%d}", kMaxFractionDigits); }

// Digits behind the point from here on; `fraction` is what is left of the bound's.
Texts DigitsFrom(std::string_view fraction, bool exact) {
  if (AllZeros(fraction)) {
    if (exact) return Texts::Of(AnyMoreDigits());
    return Texts::Of("\"0\"{0,3} [1-9] [0-9]{0,2}");
  }
  Texts texts =
      DigitsFrom(fraction.substr(1), exact).Behind(DigitsBetween(fraction[0], fraction[0]));
  if (fraction[0] < '9') {
    texts.Add(Texts::Of(DigitsBetween(Next(fraction[0]), '9') + " " + AnyMoreDigits()));
  }
  return texts;
}

Texts DigitsTo(std::string_view fraction, bool exact) {
  Texts texts = AllZeros(fraction) && !exact ? Texts::None() : Texts::Empty();
  if (fraction.empty()) return texts;
  texts.Add(DigitsTo(fraction.substr(1), exact).Behind(DigitsBetween(fraction[0], fraction[0])));
  if (fraction[0] > '0') {
    texts.Add(Texts::Of(DigitsBetween('0', Before(fraction[0])) + " " + AnyMoreDigits()));
  }
  return texts;
}

struct Fixed {
  int64_t whole = 0;
  std::string fraction;  // six digits
  bool inclusive = true;
  bool Zero() const { return AllZeros(fraction); }
};

Texts DigitsBetweenBounds(std::string_view low, std::string_view high, bool low_in, bool high_in) {
  if (low.empty()) return low_in && high_in ? Texts::Empty() : Texts::None();
  if (low[0] == high[0]) {
    Texts texts = DigitsBetweenBounds(low.substr(1), high.substr(1), low_in, high_in)
                      .Behind(DigitsBetween(low[0], low[0]));
    return texts;
  }
  Texts texts = DigitsFrom(low.substr(1), low_in).Behind(DigitsBetween(low[0], low[0]));
  texts.Add(DigitsTo(high.substr(1), high_in).Behind(DigitsBetween(high[0], high[0])));
  if (Next(low[0]) <= Before(high[0])) {
    texts.Add(Texts::Of(DigitsBetween(Next(low[0]), Before(high[0])) + " " + AnyMoreDigits()));
  }
  return texts;
}

// A point and such digits, or nothing where `whole_in` (the integer itself is within the bounds).
Texts Fraction(const Texts& digits, bool whole_in) {
  Texts texts = whole_in ? Texts::Empty() : Texts::None();
  texts.Add(digits.Behind("\".\" "));
  return texts;
}

// A point must be followed by a digit, which the sets above do not promise.
Texts WithFirstDigit(std::string_view fraction, bool exact, bool from) {
  const std::string_view rest = fraction.substr(1);
  const std::string same = DigitsBetween(fraction[0], fraction[0]);
  Texts texts = (from ? DigitsFrom(rest, exact) : DigitsTo(rest, exact)).Behind(same);
  if (from && fraction[0] < '9') {
    texts.Add(Texts::Of(DigitsBetween(Next(fraction[0]), '9') + " " + AnyMoreDigits()));
  }
  if (!from && fraction[0] > '0') {
    texts.Add(Texts::Of(DigitsBetween('0', Before(fraction[0])) + " " + AnyMoreDigits()));
  }
  return texts;
}

std::string Literal(int64_t whole) { return absl::StrFormat("\"%d\"", whole); }

// 0 <= low <= high.
Texts NonNegativeBetween(const Fixed& low, const Fixed& high) {
  if (low.whole == high.whole) {
    return Fraction(DigitsBetweenBounds(low.fraction, high.fraction, low.inclusive, high.inclusive),
                    low.Zero() && low.inclusive && (!high.Zero() || high.inclusive))
        .Behind(Literal(low.whole));
  }
  Texts texts =
      Fraction(WithFirstDigit(low.fraction, low.inclusive, true), low.Zero() && low.inclusive)
          .Behind(Literal(low.whole));
  const Texts between = NaturalBetween(low.whole + 1, high.whole - 1);
  if (!between.none()) texts.Add(AnyFraction().Behind(between.Ebnf()));
  texts.Add(
      Fraction(WithFirstDigit(high.fraction, high.inclusive, false), !high.Zero() || high.inclusive)
          .Behind(Literal(high.whole)));
  return texts;
}

absl::StatusOr<Fixed> ToFixed(const DecimalBound& bound) {
  const std::string text = absl::StrFormat("%.6f", std::fabs(bound.value));
  if (!(std::fabs(bound.value) <= kLargestDecimal) ||
      std::strtod(text.c_str(), nullptr) != std::fabs(bound.value)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "a bound of a number must have at most 9 digits before and %d behind the point; got %.17g",
        kMaxFractionDigits, bound.value));
  }
  const size_t point = text.find('.');
  Fixed fixed;
  fixed.whole = std::strtoll(text.substr(0, point).c_str(), nullptr, 10);
  fixed.fraction = text.substr(point + 1);
  fixed.inclusive = bound.inclusive;
  // Beyond, a decimal just inside could be read back as the bound itself.
  if (!fixed.inclusive && !fixed.Zero() && fixed.whole >= 1000) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "an exclusive bound with a fraction must be between -1000 and 1000; got %.17g",
        bound.value));
  }
  return fixed;
}

absl::Status EmptyRange() { return absl::InvalidArgumentError("no number is within the bounds"); }

Fixed Largest() { return {kLargestInteger, "999999", true}; }

}  // namespace

absl::StatusOr<std::string> IntegerRangeEbnf(std::optional<int64_t> low,
                                             std::optional<int64_t> high) {
  const int64_t first = low.value_or(-kLargestInteger);
  const int64_t last = high.value_or(kLargestInteger);
  if (first < -kLargestInteger || last > kLargestInteger || last < -kLargestInteger ||
      first > kLargestInteger) {
    return absl::InvalidArgumentError(
        absl::StrFormat("a bound of an integer must have at most %d digits; got %d",
                        kMaxIntegerDigits, std::abs(first) > kLargestInteger ? first : last));
  }
  if (first > last) return EmptyRange();
  Texts texts = NaturalBetween(std::max<int64_t>(first, 0), last);
  if (first < 0) {
    texts.Add(NaturalBetween(last >= 0 ? 1 : -last, -first).Behind("\"-\""));
  }
  return texts.Ebnf();
}

absl::StatusOr<std::string> DecimalRangeEbnf(std::optional<DecimalBound> low,
                                             std::optional<DecimalBound> high) {
  Texts texts = Texts::None();
  const bool reaches_up = !high || high->value > 0 || (high->value == 0 && high->inclusive);
  const bool reaches_down = !low || low->value < 0;
  if (low && high &&
      (low->value > high->value ||
       (low->value == high->value && !(low->inclusive && high->inclusive)))) {
    return EmptyRange();
  }
  Fixed lowest;
  Fixed highest = Largest();
  if (low) {
    TRI_ASSIGN_OR_RETURN(lowest, ToFixed(*low));
  }
  if (high) {
    TRI_ASSIGN_OR_RETURN(highest, ToFixed(*high));
  }
  const Fixed zero{0, "000000", true};
  if (reaches_up) {
    texts.Add(NonNegativeBetween(low && low->value >= 0 ? lowest : zero, highest));
  }
  if (reaches_down) {
    // The mirror image; zero itself is on the side above unless the range ends just below it.
    const Fixed nearest = high && high->value <= 0 ? highest : Fixed{0, "000000", false};
    texts.Add(NonNegativeBetween(nearest, low ? lowest : Largest()).Behind("\"-\""));
  }
  if (texts.none()) return EmptyRange();
  return texts.Ebnf();
}

}  // namespace trireme
