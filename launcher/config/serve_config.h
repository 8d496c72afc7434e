// The configuration of `trireme serve`, read and checked.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "launcher/config/yaml_message.h"
#include "trireme/v1/config.pb.h"

namespace trireme {

struct ServeConfigFile {
  v1::ServeConfig config;  // complete: defaults filled in, at least one group
  SettingSources sources;
};

// `overrides`: (path, YAML value) from the command line, which win over the file. INVALID_ARGUMENT
// and NOT_FOUND name file and line.
absl::StatusOr<ServeConfigFile> LoadServeConfig(
    const std::string& path, const std::vector<std::pair<std::string, std::string>>& overrides);

}  // namespace trireme
