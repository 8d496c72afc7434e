// The scalar fields of a configuration message: what each may hold, and how its values are read and
// written.
#pragma once

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <string>
#include <string_view>
#include <vector>

#include "trireme/v1/config.pb.h"

namespace trireme {

const v1::Setting& SettingOf(const google::protobuf::FieldDescriptor& field);

bool IsMessage(const google::protobuf::FieldDescriptor& field);

std::string JoinKey(std::string_view path, std::string_view key);

std::vector<std::string> KnownKeys(const google::protobuf::Descriptor& descriptor);

// For messages: "a whole number from 1 to 64".
std::string Expected(const google::protobuf::FieldDescriptor& field);

// A value as YAML writes it, put into a scalar field: set, or added to a repeated one. False when
// it is not what the field expects.
bool StoreScalar(const std::string& text, const google::protobuf::FieldDescriptor& field,
                 google::protobuf::Message& message);

// The value of a scalar or repeated text field, as YAML.
std::string Printed(const google::protobuf::Message& message,
                    const google::protobuf::FieldDescriptor& field);

}  // namespace trireme
