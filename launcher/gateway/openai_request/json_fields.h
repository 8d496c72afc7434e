// A client's JSON, read with limits before anything is built of it, and its fields, each of the
// type that it must have. null counts as absent and unknown fields are ignored, as OpenAI does.
// Errors are INVALID_ARGUMENT and name the field, never what a client wrote.
#pragma once

#include <concepts>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace trireme {

// Keys stay in the order in which they came: tools and schemas are shown to the model as given.
using Json = nlohmann::ordered_json;

inline constexpr int kMaxBodyDepth = 64;
inline constexpr uint64_t kMaxBodyValues = 300'000;
inline constexpr uint64_t kMaxBodyKeys = 1'024;  // of one object

// An object.
absl::StatusOr<Json> ParseBody(std::string_view body);

// UTF-8, with what is none replaced.
std::string Dump(const Json& json);

absl::Status WrongField(std::string_view field, std::string_view expected);

// nullptr where it is absent or null.
const Json* FindField(const Json& object, std::string_view name);

// Whole numbers within these bounds; one written 5.0 is 5.
absl::StatusOr<int64_t> WholeNumber(const Json& value, std::string_view field, int64_t low,
                                    int64_t high);

// Each takes the field if it is there, and leaves `out` alone otherwise.
absl::Status ReadText(const Json& object, std::string_view name, std::string& out);
absl::Status ReadBool(const Json& object, std::string_view name, bool& out);

// Calls `set` with the number.
template <std::integral T, typename Set>
absl::Status ReadWhole(const Json& object, std::string_view name, Set set) {
  const Json* value = FindField(object, name);
  if (value == nullptr) return absl::OkStatus();
  const auto number =
      WholeNumber(*value, name, std::numeric_limits<T>::min(), std::numeric_limits<T>::max());
  if (!number.ok()) return number.status();
  set(static_cast<T>(*number));
  return absl::OkStatus();
}

template <typename Set>
absl::Status ReadNumber(const Json& object, std::string_view name, Set set) {
  const Json* value = FindField(object, name);
  if (value == nullptr) return absl::OkStatus();
  if (!value->is_number()) return WrongField(name, "a number");
  set(value->get<float>());
  return absl::OkStatus();
}

}  // namespace trireme
