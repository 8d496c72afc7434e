// The file of API keys (proto/keys.proto): read, checked, and changed by `trireme keys`.
//
// A key is one word, "trk_ID_SECRET": ID says which entry of the file to compare with, and SECRET
// is 256 random bits in hexadecimal. It is shown once, when it is made; the file holds a salted
// hash.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trireme/v1/keys.pb.h"

namespace trireme {

// INVALID_ARGUMENT (with file and line), and the errors of ReadPrivateFile.
absl::StatusOr<v1::KeyFile> ReadKeyFile(const std::string& path);

// `key`: all but id (if empty, one is drawn), salt, hash and revoked. Appends it, to a new file if
// there is none, and returns the key itself. ALREADY_EXISTS (the id), INVALID_ARGUMENT.
absl::StatusOr<std::string> CreateKey(const std::string& path, v1::ApiKey key);
// NOT_FOUND: no key of that id.
absl::Status RevokeKey(const std::string& path, const std::string& id);

struct PresentedKey {
  std::string_view id;
  std::string_view secret;
};
// Nothing: it has not the form of a key.
std::optional<PresentedKey> SplitKey(std::string_view text);

}  // namespace trireme
