#include "launcher/config/settings.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "runtime/base/check.h"

namespace trireme {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

const v1::Setting& SettingOf(const FieldDescriptor& field) {
  return field.options().GetExtension(v1::setting);
}

bool IsMessage(const FieldDescriptor& field) {
  return field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
}

std::string JoinKey(std::string_view path, std::string_view key) {
  return path.empty() ? std::string(key) : absl::StrFormat("%s.%s", path, key);
}

std::vector<std::string> KnownKeys(const google::protobuf::Descriptor& descriptor) {
  std::vector<std::string> keys;
  for (int i = 0; i < descriptor.field_count(); ++i) keys.push_back(descriptor.field(i)->name());
  return keys;
}

std::string Expected(const FieldDescriptor& field) {
  const v1::Setting& setting = SettingOf(field);
  if (!setting.choices().empty()) return "one of " + absl::StrJoin(setting.choices(), ", ");
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_BOOL) return "true or false";
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_STRING) return "text";
  const bool fraction = field.cpp_type() == FieldDescriptor::CPPTYPE_DOUBLE;
  std::string expected = fraction ? "a number" : "a whole number";
  // Limits of whole numbers are written out; those of measures may be as small as 1e-9.
  const auto limit = [&](double value) {
    return fraction ? absl::StrFormat("%g", value) : absl::StrFormat("%.0f", value);
  };
  if (setting.has_min()) expected += " from " + limit(setting.min());
  if (setting.has_max()) expected += " to " + limit(setting.max());
  return expected;
}

bool StoreScalar(const std::string& text, const FieldDescriptor& field, Message& message) {
  const Reflection& reflection = *message.GetReflection();
  const v1::Setting& setting = SettingOf(field);
  const auto in_range = [&](auto value) {
    const auto number = static_cast<double>(value);
    return (!setting.has_min() || number >= setting.min()) &&
           (!setting.has_max() || number <= setting.max());
  };
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      if (text != "true" && text != "false") return false;
      reflection.SetBool(&message, &field, text == "true");
      return true;
    case FieldDescriptor::CPPTYPE_INT32: {
      int32_t value = 0;
      if (!absl::SimpleAtoi(text, &value) || !in_range(value)) return false;
      reflection.SetInt32(&message, &field, value);
      return true;
    }
    case FieldDescriptor::CPPTYPE_INT64: {
      int64_t value = 0;
      if (!absl::SimpleAtoi(text, &value) || !in_range(value)) return false;
      reflection.SetInt64(&message, &field, value);
      return true;
    }
    case FieldDescriptor::CPPTYPE_DOUBLE: {
      double value = 0;
      if (!absl::SimpleAtod(text, &value) || !std::isfinite(value) || !in_range(value)) {
        return false;
      }
      reflection.SetDouble(&message, &field, value);
      return true;
    }
    case FieldDescriptor::CPPTYPE_STRING: {
      const auto& choices = setting.choices();
      if (!choices.empty() && std::ranges::find(choices, text) == choices.end()) return false;
      if (field.is_repeated()) {
        reflection.AddString(&message, &field, text);
      } else {
        reflection.SetString(&message, &field, text);
      }
      return true;
    }
    default:
      break;
  }
  TRI_CHECK(false) << "config.proto: " << field.full_name() << " is of a type that is not read";
  return false;
}

std::string Printed(const Message& message, const FieldDescriptor& field) {
  const Reflection& reflection = *message.GetReflection();
  if (field.is_repeated()) {
    std::vector<std::string> values;
    for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
      values.push_back('"' + reflection.GetRepeatedString(message, &field, i) + '"');
    }
    return "[" + absl::StrJoin(values, ", ") + "]";
  }
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection.GetBool(message, &field) ? "true" : "false";
    case FieldDescriptor::CPPTYPE_INT32:
      return std::to_string(reflection.GetInt32(message, &field));
    case FieldDescriptor::CPPTYPE_INT64:
      return std::to_string(reflection.GetInt64(message, &field));
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return absl::StrFormat("%g", reflection.GetDouble(message, &field));
    default:
      return '"' + reflection.GetString(message, &field) + '"';
  }
}

}  // namespace trireme
