#include "launcher/supervisor/join_token.h"

#include <stdlib.h>

#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_format.h"
#include "launcher/auth/secret.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

constexpr size_t kTokenBytes = 32;

}  // namespace

absl::StatusOr<std::unique_ptr<JoinToken>> JoinToken::Make() {
  std::error_code error;
  std::string folder = (std::filesystem::temp_directory_path(error) / "trireme-XXXXXX").string();
  // Made with mode 0700.
  if (error || mkdtemp(folder.data()) == nullptr) {
    return absl::UnavailableError(
        absl::StrFormat("cannot make the directory %s for the join token", folder));
  }
  auto token = std::unique_ptr<JoinToken>(new JoinToken(folder));
  TRI_ASSIGN_OR_RETURN(const std::string secret, RandomHex(kTokenBytes));
  TRI_RETURN_IF_ERROR(WritePrivateFile(token->path(), secret + "\n"));
  return token;
}

JoinToken::~JoinToken() {
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

std::string JoinToken::path() const { return folder_ + "/join-token"; }

}  // namespace trireme
