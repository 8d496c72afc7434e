#include "launcher/auth/key_file.h"

#include <fcntl.h>
#include <google/protobuf/util/json_util.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <set>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_format.h"
#include "launcher/auth/scope.h"
#include "launcher/auth/secret.h"
#include "launcher/config/yaml_message.h"
#include "runtime/base/check.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

constexpr std::string_view kPrefix = "trk_";
constexpr size_t kSecretBytes = 32;
constexpr size_t kSaltBytes = 16;
constexpr size_t kHashBytes = 32;
constexpr size_t kMaxIdBytes = 64;
// What a request may say of itself too (request/limits.h).
constexpr size_t kMaxTenantBytes = 64;
constexpr size_t kDrawnIdBytes = 6;
constexpr char kIdLetters[] = "abcdefghijklmnopqrstuvwxyz0123456789-";
constexpr char kHexDigits[] = "0123456789abcdef";

bool IsHex(const std::string& text, size_t bytes) {
  return text.size() == 2 * bytes && text.find_first_not_of(kHexDigits) == std::string::npos;
}

absl::Status CheckKey(const v1::ApiKey& key) {
  if (key.id().empty() || key.id().size() > kMaxIdBytes ||
      key.id().find_first_not_of(kIdLetters) != std::string::npos) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "id: expected 1 to %d small letters, digits or '-'; got '%s'", kMaxIdBytes, key.id()));
  }
  if (key.tenant().empty() || key.tenant().size() > kMaxTenantBytes) {
    return absl::InvalidArgumentError(absl::StrFormat("tenant: expected 1 to %d bytes; got %d",
                                                      kMaxTenantBytes, key.tenant().size()));
  }
  if (key.scopes().empty()) {
    return absl::InvalidArgumentError("scopes: expected some of infer, metrics, admin; got none");
  }
  for (const std::string& scope : key.scopes()) {
    if (!ScopeNamed(scope).has_value()) {
      return absl::InvalidArgumentError(
          absl::StrFormat("scopes: expected some of infer, metrics, admin; got '%s'", scope));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckKeys(const v1::KeyFile& file) {
  std::set<std::string> ids;
  for (const v1::ApiKey& key : file.keys()) {
    TRI_RETURN_IF_ERROR(CheckKey(key));
    if (!IsHex(key.salt(), kSaltBytes) || !IsHex(key.hash(), kHashBytes)) {
      return absl::InvalidArgumentError(
          absl::StrFormat("key '%s': salt and hash must be %d and %d hexadecimal digits", key.id(),
                          2 * kSaltBytes, 2 * kHashBytes));
    }
    if (!ids.insert(key.id()).second) {
      return absl::InvalidArgumentError(absl::StrFormat("id '%s' is given twice", key.id()));
    }
  }
  return absl::OkStatus();
}

absl::Status WriteKeyFile(const std::string& path, const v1::KeyFile& file) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.preserve_proto_field_names = true;
  std::string text;
  TRI_CHECK(google::protobuf::util::MessageToJsonString(file, &text, options).ok());
  return WritePrivateFile(path, text);
}

// Reads, changes and writes while no other `trireme keys` does.
template <typename Change>
absl::Status ChangeKeyFile(const std::string& path, bool may_be_missing, const Change& change) {
  std::string folder = std::filesystem::path(path).parent_path().string();
  if (folder.empty()) folder = ".";
  const int lock = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (lock < 0 || flock(lock, LOCK_EX) != 0) {
    if (lock >= 0) close(lock);
    return absl::NotFoundError(absl::StrFormat("%s: %s", folder, std::strerror(errno)));
  }
  const absl::Cleanup unlock = [lock] { close(lock); };
  absl::StatusOr<v1::KeyFile> file = ReadKeyFile(path);
  if (may_be_missing && absl::IsNotFound(file.status())) file = v1::KeyFile();
  TRI_RETURN_IF_ERROR(file.status());
  TRI_RETURN_IF_ERROR(change(*file));
  return WriteKeyFile(path, *file);
}

v1::ApiKey* FindKey(v1::KeyFile& file, const std::string& id) {
  const auto found = std::ranges::find(*file.mutable_keys(), id, &v1::ApiKey::id);
  return found == file.mutable_keys()->end() ? nullptr : &*found;
}

}  // namespace

absl::StatusOr<v1::KeyFile> ReadKeyFile(const std::string& path) {
  TRI_ASSIGN_OR_RETURN(const std::string text, ReadPrivateFile(path));
  v1::KeyFile file;
  SettingSources sources;
  TRI_RETURN_IF_ERROR(ParseYaml(text, path, file, sources));
  TRI_RETURN_IF_ERROR(CompleteSettings(path, file, sources));
  if (const absl::Status status = CheckKeys(file); !status.ok()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: %s", path, std::string(status.message())));
  }
  return file;
}

absl::StatusOr<std::string> CreateKey(const std::string& path, v1::ApiKey key) {
  TRI_ASSIGN_OR_RETURN(const std::string secret, RandomHex(kSecretBytes));
  TRI_ASSIGN_OR_RETURN(const std::string salt, RandomHex(kSaltBytes));
  if (key.id().empty()) {
    TRI_ASSIGN_OR_RETURN(const std::string id, RandomHex(kDrawnIdBytes));
    key.set_id(id);
  }
  TRI_RETURN_IF_ERROR(CheckKey(key));
  key.set_salt(salt);
  key.set_hash(SaltedHash(salt, secret));
  TRI_RETURN_IF_ERROR(
      ChangeKeyFile(path, /*may_be_missing=*/true, [&](v1::KeyFile& file) -> absl::Status {
        if (FindKey(file, key.id()) != nullptr) {
          return absl::AlreadyExistsError(
              absl::StrFormat("a key of id '%s' exists; choose another id", key.id()));
        }
        *file.add_keys() = key;
        return absl::OkStatus();
      }));
  return absl::StrFormat("%s%s_%s", kPrefix, key.id(), secret);
}

absl::Status RevokeKey(const std::string& path, const std::string& id) {
  return ChangeKeyFile(path, /*may_be_missing=*/false, [&](v1::KeyFile& file) -> absl::Status {
    v1::ApiKey* key = FindKey(file, id);
    if (key == nullptr) {
      return absl::NotFoundError(absl::StrFormat("no key of id '%s' in %s", id, path));
    }
    key->set_revoked(true);
    return absl::OkStatus();
  });
}

std::optional<PresentedKey> SplitKey(std::string_view text) {
  if (!text.starts_with(kPrefix)) return std::nullopt;
  text.remove_prefix(kPrefix.size());
  const size_t end = text.find('_');
  if (end == std::string_view::npos) return std::nullopt;
  return PresentedKey{.id = text.substr(0, end), .secret = text.substr(end + 1)};
}

}  // namespace trireme
