// YAML → any Protobuf message, by its descriptor: keys are fields, maps are messages, lists are
// repeated fields. Defaults and limits come from each field's `setting`
// (proto/trireme/v1/config.proto), so that a key is one line of a schema and nothing else.
// Everything in the file is checked; errors begin with "FILE:LINE: ".
//
// It also remembers where each value came from, so that a run can print its effective configuration
// with sources.
#pragma once

#include <google/protobuf/message.h>

#include <map>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace trireme {

// By path ("groups[0].tp"): "configs/local.yaml:7", "command line". Fields that are not in it hold
// their default.
using SettingSources = std::map<std::string, std::string>;

// Fills `message`, which should be empty. `file` is used in errors and sources. INVALID_ARGUMENT
// for unknown or repeated keys, wrong types, values out of range; required keys are
// CompleteSettings' business.
absl::Status ParseYaml(std::string_view text, const std::string& file,
                       google::protobuf::Message& message, SettingSources& sources);

// One value from a flag: `path` as in SettingSources, `value` as YAML ("4", "[a, b]").
absl::Status SetFromFlag(const std::string& path, std::string_view value,
                         google::protobuf::Message& message, SettingSources& sources);

// Gives every field that is not in `sources` its default. INVALID_ARGUMENT naming a required key
// that is missing.
absl::Status CompleteSettings(const std::string& file, google::protobuf::Message& message,
                              const SettingSources& sources);

// One line a value, "path: value  # source", in the order of the schema.
std::string DescribeSettings(const google::protobuf::Message& message,
                             const SettingSources& sources);

}  // namespace trireme
