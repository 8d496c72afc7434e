#include "launcher/gateway/openai_request/json_fields.h"

#include <cmath>

#include "absl/strings/str_format.h"
#include "launcher/gateway/limits.h"
#include "runtime/base/status_macros.h"
#include "runtime/checkpoint/strict_json.h"

namespace trireme {

absl::StatusOr<Json> ParseBody(std::string_view body) {
  const JsonLimits limits{.max_bytes = kMaxFileBytes,
                          .max_depth = kMaxBodyDepth,
                          .max_values = kMaxBodyValues,
                          .max_keys = kMaxBodyKeys,
                          .name_keys = false};
  TRI_RETURN_IF_ERROR(CheckStrictJson(body, "body", limits));
  Json json = Json::parse(body, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return absl::InvalidArgumentError("body: expected a JSON object");
  return json;
}

std::string Dump(const Json& json) {
  return json.dump(-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

absl::Status WrongField(std::string_view field, std::string_view expected) {
  return absl::InvalidArgumentError(absl::StrFormat("%s: expected %s", field, expected));
}

const Json* FindField(const Json& object, std::string_view name) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(std::string(name));
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

absl::StatusOr<int64_t> WholeNumber(const Json& value, std::string_view field, int64_t low,
                                    int64_t high) {
  const absl::Status wrong =
      WrongField(field, absl::StrFormat("a whole number from %d to %d", low, high));
  if (value.is_number_unsigned()) {
    const auto number = value.get<uint64_t>();
    if (high < 0 || number > static_cast<uint64_t>(high)) return wrong;
    return static_cast<int64_t>(number);
  }
  if (value.is_number_integer()) {
    const auto number = value.get<int64_t>();
    if (number < low || number > high) return wrong;
    return number;
  }
  if (!value.is_number_float()) return wrong;
  const auto number = value.get<double>();
  // Within what a double holds exactly.
  constexpr double kExact = 9'007'199'254'740'992;
  if (!(std::abs(number) <= kExact) || number != std::floor(number)) return wrong;
  const auto whole = static_cast<int64_t>(number);
  if (whole < low || whole > high) return wrong;
  return whole;
}

absl::Status ReadText(const Json& object, std::string_view name, std::string& out) {
  const Json* value = FindField(object, name);
  if (value == nullptr) return absl::OkStatus();
  if (!value->is_string()) return WrongField(name, "text");
  out = value->get<std::string>();
  return absl::OkStatus();
}

absl::Status ReadBool(const Json& object, std::string_view name, bool& out) {
  const Json* value = FindField(object, name);
  if (value == nullptr) return absl::OkStatus();
  if (!value->is_boolean()) return WrongField(name, "true or false");
  out = value->get<bool>();
  return absl::OkStatus();
}

}  // namespace trireme
