#include "runtime/model/reading/json_reader.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "absl/strings/str_format.h"
#include "runtime/base/status_macros.h"

namespace trireme {

using nlohmann::json;

bool JsonReader::Has(std::string_view key) const {
  const auto found = object_.find(key);
  return found != object_.end() && !found->is_null();
}

bool JsonReader::IsNull(std::string_view key) const {
  const auto found = object_.find(key);
  return found != object_.end() && found->is_null();
}

absl::StatusOr<int64_t> JsonReader::Integer(std::string_view key, Range allowed,
                                            std::optional<int64_t> absent) const {
  if (!Has(key)) {
    if (absent) return *absent;
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: \"%s\" is missing; an integer is expected", file_, key));
  }
  const json& value = object_[key];
  if (value.is_number_unsigned() && value.get<uint64_t>() > std::numeric_limits<int64_t>::max()) {
    return Refused(key, "an integer", value);
  }
  if (!value.is_number_integer() || value.get<int64_t>() < allowed.begin ||
      value.get<int64_t>() >= allowed.end) {
    return Refused(key, absl::StrFormat("an integer in [%d, %d]", allowed.begin, allowed.end - 1),
                   value);
  }
  return value.get<int64_t>();
}

absl::StatusOr<float> JsonReader::Positive(std::string_view key,
                                           std::optional<float> absent) const {
  if (!Has(key)) {
    if (absent) return *absent;
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: \"%s\" is missing; a positive number is expected", file_, key));
  }
  const json& value = object_[key];
  if (!value.is_number() || !(value.get<double>() > 0) || !(value.get<double>() < 1e30)) {
    return Refused(key, "a positive number", value);
  }
  return value.get<float>();
}

absl::StatusOr<bool> JsonReader::Boolean(std::string_view key, bool absent) const {
  if (!Has(key)) return absent;
  if (!object_[key].is_boolean()) return Refused(key, "true or false", object_[key]);
  return object_[key].get<bool>();
}

absl::StatusOr<bool> JsonReader::Flag(std::string_view key, bool absent) const {
  if (Has(key) && object_[key].is_number()) return object_[key].get<double>() != 0;
  return Boolean(key, absent);
}

absl::StatusOr<std::string> JsonReader::Text(std::string_view key) const {
  if (!Has(key) || !object_[key].is_string()) {
    return absl::InvalidArgumentError(absl::StrFormat("%s: \"%s\" must be a string", file_, key));
  }
  return object_[key].get<std::string>();
}

absl::StatusOr<JsonReader> JsonReader::Object(std::string_view key) const {
  if (!Has(key) || !object_[key].is_object()) {
    return absl::InvalidArgumentError(absl::StrFormat("%s: \"%s\" must be an object", file_, key));
  }
  return JsonReader(object_[key], file_);
}

absl::StatusOr<std::vector<int64_t>> JsonReader::Integers(std::string_view key,
                                                          Range allowed) const {
  std::vector<int64_t> values;
  if (!Has(key)) return values;
  const json& list = object_[key];
  const std::string expected =
      absl::StrFormat("a list of integers in [%d, %d]", allowed.begin, allowed.end - 1);
  if (!list.is_array()) return Refused(key, expected, list);
  for (const json& value : list) {
    if (!value.is_number_integer() || value.get<int64_t>() < allowed.begin ||
        value.get<int64_t>() >= allowed.end) {
      return Refused(key, expected, list);
    }
    values.push_back(value.get<int64_t>());
  }
  return values;
}

absl::StatusOr<std::vector<int32_t>> JsonReader::Ids(std::string_view key,
                                                     int64_t vocabulary) const {
  std::vector<int32_t> ids;
  if (!Has(key)) return ids;
  const json& value = object_[key];
  const json list = value.is_array() ? value : json::array({value});
  for (const json& id : list) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() >= vocabulary) {
      return Refused(key, absl::StrFormat("token ids below %d", vocabulary), value);
    }
    ids.push_back(id.get<int32_t>());
  }
  return ids;
}

absl::Status JsonReader::Refused(std::string_view key, std::string_view expected,
                                 const json& found) const {
  return absl::InvalidArgumentError(
      absl::StrFormat("%s: \"%s\" must be %s; found %s", file_, key, expected,
                      found.dump(-1, ' ', true, json::error_handler_t::replace).substr(0, 80)));
}

}  // namespace trireme
