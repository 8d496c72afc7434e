#include "launcher/auth/secret.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_format.h"
#include "parallel/sha256.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

constexpr size_t kMaxFileBytes = size_t{16} << 20;
constexpr size_t kMinSecretBytes = 16;
constexpr size_t kMaxSecretBytes = 1024;

std::string ToHex(std::string_view bytes) {
  return absl::BytesToHexString(absl::string_view(bytes.data(), bytes.size()));
}

absl::Status FileError(std::string_view what, const std::string& path) {
  const std::string message = absl::StrFormat("%s %s: %s", what, path, std::strerror(errno));
  if (errno == ENOENT) return absl::NotFoundError(message);
  if (errno == EACCES || errno == EPERM) return absl::PermissionDeniedError(message);
  return absl::UnavailableError(message);
}

absl::Status CheckPrivate(int file, const std::string& path, size_t& size) {
  struct stat found = {};
  if (fstat(file, &found) != 0) return FileError("cannot look at", path);
  if (!S_ISREG(found.st_mode)) {
    return absl::InvalidArgumentError(absl::StrFormat("%s: expected a plain file", path));
  }
  if ((found.st_mode & 077) != 0) {
    return absl::PermissionDeniedError(
        absl::StrFormat("%s: others may read it (mode %04o, expected 0600); run `chmod 600 %s`",
                        path, found.st_mode & 07777, path));
  }
  if (found.st_uid != geteuid() && found.st_uid != 0) {
    return absl::PermissionDeniedError(
        absl::StrFormat("%s: belongs to user %d, who could change it; expected user %d", path,
                        found.st_uid, geteuid()));
  }
  if (static_cast<size_t>(found.st_size) > kMaxFileBytes) {
    return absl::InvalidArgumentError(absl::StrFormat("%s: %d bytes; expected at most %d", path,
                                                      static_cast<int64_t>(found.st_size),
                                                      kMaxFileBytes));
  }
  size = static_cast<size_t>(found.st_size);
  return absl::OkStatus();
}

bool WriteAll(int file, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(file, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    text.remove_prefix(static_cast<size_t>(written));
  }
  return true;
}

}  // namespace

absl::StatusOr<std::string> RandomHex(size_t bytes) {
  std::string random(bytes, '\0');
  if (RAND_bytes(reinterpret_cast<unsigned char*>(random.data()), static_cast<int>(bytes)) != 1) {
    return absl::InternalError("the operating system gives no random bytes");
  }
  std::string hex = ToHex(random);
  OPENSSL_cleanse(random.data(), random.size());
  return hex;
}

std::string SaltedHash(std::string_view salt, std::string_view secret) {
  Sha256 hash;
  hash.Add(salt);
  hash.Add(secret);
  return hash.HexDigest();
}

bool EqualSecrets(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

absl::StatusOr<std::string> ReadPrivateFile(const std::string& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0) return FileError("cannot open", path);
  const absl::Cleanup close_file = [file] { close(file); };
  size_t size = 0;
  TRI_RETURN_IF_ERROR(CheckPrivate(file, path, size));
  std::string text(size, '\0');
  size_t filled = 0;
  while (filled < size) {
    const ssize_t got = read(file, text.data() + filled, size - filled);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FileError("cannot read", path);
    if (got == 0) break;
    filled += static_cast<size_t>(got);
  }
  text.resize(filled);
  return text;
}

absl::StatusOr<std::string> ReadSecret(const std::string& path) {
  TRI_ASSIGN_OR_RETURN(std::string text, ReadPrivateFile(path));
  text.resize(std::min(text.size(), text.find_first_of("\r\n")));
  const bool printable = std::ranges::all_of(text, [](char c) { return c > ' ' && c <= '~'; });
  if (!printable || text.size() < kMinSecretBytes || text.size() > kMaxSecretBytes) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: expected a first line of %d to %d printable bytes without blanks",
                        path, kMinSecretBytes, kMaxSecretBytes));
  }
  return text;
}

absl::Status WritePrivateFile(const std::string& path, std::string_view text) {
  std::string draft = path + ".XXXXXX";
  // Made with mode 0600.
  const int file = mkostemp(draft.data(), O_CLOEXEC);
  if (file < 0) return FileError("cannot write beside", path);
  const bool written = WriteAll(file, text) && fsync(file) == 0;
  const int error = errno;
  close(file);
  if (written && rename(draft.c_str(), path.c_str()) == 0) return absl::OkStatus();
  if (!written) errno = error;
  const absl::Status status = FileError("cannot write", path);
  unlink(draft.c_str());
  return status;
}

}  // namespace trireme
