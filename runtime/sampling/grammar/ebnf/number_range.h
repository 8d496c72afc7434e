// The JSON numbers between two bounds, as the right-hand side of a grammar rule.
//
// Only forms that read back exactly are generated: integers of at most kMaxIntegerDigits digits,
// and decimals without an exponent whose fraction has at most kMaxFractionDigits digits more than
// the bounds'. That is a part of what the bounds allow, and all of it is within them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"

namespace trireme {

constexpr int kMaxIntegerDigits = 15;
constexpr int kMaxFractionDigits = 6;

// Both ends are in it; an absent end is ±(10^kMaxIntegerDigits - 1). INVALID_ARGUMENT when it is
// empty or an end has more digits.
absl::StatusOr<std::string> IntegerRangeEbnf(std::optional<int64_t> low,
                                             std::optional<int64_t> high);

struct DecimalBound {
  double value = 0;
  bool inclusive = true;
};

// INVALID_ARGUMENT when it is empty, or an end is not a decimal with at most 9 digits before and 6
// behind the point.
absl::StatusOr<std::string> DecimalRangeEbnf(std::optional<DecimalBound> low,
                                             std::optional<DecimalBound> high);

}  // namespace trireme
