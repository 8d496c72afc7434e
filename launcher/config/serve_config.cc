#include "launcher/config/serve_config.h"

#include <fstream>
#include <iterator>
#include <set>

#include "absl/strings/str_format.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

constexpr char kNameLetters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
constexpr size_t kMaxNameBytes = 64;

// A group's name becomes a word of command lines and log lines.
bool IsName(const std::string& name) {
  return !name.empty() && name.size() <= kMaxNameBytes && name[0] != '-' &&
         name.find_first_not_of(kNameLetters) == std::string::npos;
}

absl::Status CheckGroups(const std::string& file, const ServeConfigFile& loaded) {
  std::set<std::string> names;
  for (int i = 0; i < loaded.config.groups_size(); ++i) {
    const std::string& name = loaded.config.groups(i).name();
    const auto source = loaded.sources.find(absl::StrFormat("groups[%d].name", i));
    const std::string& where = source == loaded.sources.end() ? file : source->second;
    if (!IsName(name)) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "%s: groups[%d].name: expected 1 to %d letters, digits, '.', '_' or '-'; got '%s'", where,
          i, kMaxNameBytes, name));
    }
    if (!names.insert(name).second) {
      return absl::InvalidArgumentError(
          absl::StrFormat("%s: groups[%d].name: '%s' is taken by another group; names must differ",
                          where, i, name));
    }
  }
  return absl::OkStatus();
}

// Found here, and not by groups that try for a minute.
absl::Status CheckTls(const std::string& file, const v1::ServeConfig& config) {
  if (config.tls().certificate().empty() == config.link_tls().ca().empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat(
      "%s: tls.certificate and link_tls.ca: expected both or neither: groups dial the coordinator "
      "by TLS exactly where it has a certificate",
      file));
}

}  // namespace

absl::StatusOr<ServeConfigFile> LoadServeConfig(
    const std::string& path, const std::vector<std::pair<std::string, std::string>>& overrides) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrFormat("cannot open the configuration %s", path));
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  ServeConfigFile loaded;
  TRI_RETURN_IF_ERROR(ParseYaml(text, path, loaded.config, loaded.sources));
  if (loaded.config.groups_size() == 0) loaded.config.add_groups();
  for (const auto& [key, value] : overrides) {
    TRI_RETURN_IF_ERROR(SetFromFlag(key, value, loaded.config, loaded.sources));
  }
  TRI_RETURN_IF_ERROR(CompleteSettings(path, loaded.config, loaded.sources));
  TRI_RETURN_IF_ERROR(CheckGroups(path, loaded));
  TRI_RETURN_IF_ERROR(CheckTls(path, loaded.config));
  return loaded;
}

}  // namespace trireme
