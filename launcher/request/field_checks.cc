#include "launcher/request/field_checks.h"

#include "absl/strings/str_format.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

absl::Status CheckBounds(std::string_view field, size_t found, Bounds bounds,
                         std::string_view what) {
  if (bounds.least <= found && found <= bounds.most) return absl::OkStatus();
  const std::string expected = bounds.least == 0
                                   ? absl::StrFormat("at most %d", bounds.most)
                                   : absl::StrFormat("%d to %d", bounds.least, bounds.most);
  return absl::InvalidArgumentError(
      absl::StrFormat("%s: expected %s%s; got %d", field, expected, what, found));
}

}  // namespace

absl::Status CheckIds(std::string_view field, std::span<const int32_t> ids, int64_t vocabulary) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= vocabulary) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "%s[%d]: expected an id from 0 to %d; got %d", field, i, vocabulary - 1, ids[i]));
    }
  }
  return absl::OkStatus();
}

// !(a <= x && x <= b) is true for NaN too.
absl::Status CheckRange(std::string_view field, double value, double low, double high) {
  if (low <= value && value <= high) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("%s: expected a number from %g to %g; got %g", field, low, high, value));
}

absl::Status CheckCount(std::string_view field, int64_t count, Bounds bounds) {
  return CheckBounds(field, static_cast<size_t>(count), bounds, "");
}

absl::Status CheckBytes(std::string_view field, std::string_view text, Bounds bounds) {
  return CheckBounds(field, text.size(), bounds, " bytes");
}

absl::Status CheckTexts(std::string_view field,
                        const google::protobuf::RepeatedPtrField<std::string>& texts, Bounds count,
                        Bounds bytes) {
  TRI_RETURN_IF_ERROR(CheckCount(field, texts.size(), count));
  for (int i = 0; i < texts.size(); ++i) {
    TRI_RETURN_IF_ERROR(CheckBytes(absl::StrFormat("%s[%d]", field, i), texts[i], bytes));
  }
  return absl::OkStatus();
}

}  // namespace trireme
