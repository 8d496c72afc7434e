// Secrets: how they are made, compared, hashed and read from files. A secret is never a word of a
// command line and never logged: both can be read by others.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace trireme {

// In hexadecimal; of the operating system's own generator, which INTERNAL says could not be read.
absl::StatusOr<std::string> RandomHex(size_t bytes);

// SHA-256 of salt and secret, one after the other, in hexadecimal.
std::string SaltedHash(std::string_view salt, std::string_view secret);

// In a time that depends on the lengths alone.
bool EqualSecrets(std::string_view a, std::string_view b);

// The whole of a file that only its owner may read. NOT_FOUND, PERMISSION_DENIED (others may read
// it, or it is another user's), INVALID_ARGUMENT (no plain file, or beyond 16 MiB).
absl::StatusOr<std::string> ReadPrivateFile(const std::string& path);
// The first line of such a file, which must be 16 to 1024 printable bytes without blanks.
absl::StatusOr<std::string> ReadSecret(const std::string& path);

// Replaces the file at once, as a whole, with one of mode 0600.
absl::Status WritePrivateFile(const std::string& path, std::string_view text);

}  // namespace trireme
