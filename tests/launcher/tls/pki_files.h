// A test's certificates as the files that a server and a client name.
#pragma once

#include <filesystem>
#include <string>

#include "launcher/tls/pem_files.h"
#include "tests/support/temp_directory.h"
#include "tests/support/test_pki.h"

namespace trireme {

// Replaces a file as operators should: whoever reads sees the old one or the new one. Keys are
// nobody else's to read.
inline std::string WritePem(const TempDirectory& directory, const std::string& name,
                            const std::string& text) {
  const std::string aside = directory.Write(name + ".tmp", text);
  std::filesystem::permissions(
      aside, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  std::filesystem::rename(aside, directory.Path(name));
  return directory.Path(name);
}

inline ServerTlsFiles WriteServer(const TempDirectory& directory,
                                  const TestAuthority::Signed& own) {
  return {.certificate = WritePem(directory, "server.pem", own.certificate),
          .key = WritePem(directory, "server.key", own.key)};
}

inline ClientTlsFiles WriteClient(const TempDirectory& directory, const TestAuthority& trusted) {
  return {.ca = WritePem(directory, "trusted.pem", trusted.certificate())};
}

inline void ShowCertificate(const TempDirectory& directory, const TestAuthority::Signed& own,
                            ClientTlsFiles& client) {
  client.certificate = WritePem(directory, "client.pem", own.certificate);
  client.key = WritePem(directory, "client.key", own.key);
}

}  // namespace trireme
