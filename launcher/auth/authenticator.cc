#include "launcher/auth/authenticator.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "launcher/auth/key_file.h"
#include "launcher/auth/secret.h"
#include "runtime/base/log.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

constexpr std::string_view kBearer = "bearer ";

// Which of id and secret was wrong is nobody's business.
absl::Status UnknownKey() {
  return absl::UnauthenticatedError("the API key is not known here, or was revoked");
}

}  // namespace

std::string_view PresentedSecret(const Credentials& credentials) {
  if (!credentials.api_key.empty()) return credentials.api_key;
  const std::string_view header = credentials.authorization;
  if (!absl::StartsWithIgnoreCase(absl::string_view(header.data(), header.size()),
                                  absl::string_view(kBearer.data(), kBearer.size()))) {
    return "";
  }
  return header.substr(kBearer.size());
}

bool Authenticator::FileMark::operator==(const FileMark& other) const {
  return device == other.device && inode == other.inode && size == other.size &&
         changed.tv_sec == other.changed.tv_sec && changed.tv_nsec == other.changed.tv_nsec;
}

Authenticator::Authenticator(AuthenticatorOptions options)
    : options_(std::move(options)), looked_(options_.now()) {}

absl::StatusOr<std::unique_ptr<Authenticator>> Authenticator::Open(AuthenticatorOptions options) {
  auto authenticator = std::unique_ptr<Authenticator>(new Authenticator(std::move(options)));
  MutexLock lock(authenticator->mutex_);
  authenticator->read_ = authenticator->Look();
  TRI_RETURN_IF_ERROR(authenticator->Load());
  return authenticator;
}

Authenticator::FileMark Authenticator::Look() const {
  struct stat found = {};
  if (stat(options_.keys_file.c_str(), &found) != 0) return {};
  return {.device = found.st_dev,
          .inode = found.st_ino,
          .size = found.st_size,
          .changed = found.st_ctim};
}

absl::Status Authenticator::Load() {
  TRI_ASSIGN_OR_RETURN(v1::KeyFile file, ReadKeyFile(options_.keys_file));
  std::map<std::string, Entry, std::less<>> keys;
  for (v1::ApiKey& key : *file.mutable_keys()) {
    const QuotaLimits limits{.tokens_per_minute = key.tokens_per_minute(),
                             .max_concurrent = key.max_concurrent()};
    Principal principal{.key_id = key.id(), .tenant = key.tenant(), .scopes = {}, .quota = nullptr};
    for (const std::string& scope : key.scopes()) principal.scopes.Add(*ScopeNamed(scope));
    const auto before = keys_.find(key.id());
    if (before != keys_.end()) {
      principal.quota = before->second.principal.quota;
      principal.quota->SetLimits(limits);
    } else {
      principal.quota = std::make_shared<KeyQuota>(limits, options_.now);
    }
    const std::string id = key.id();
    keys[id] = {.key = std::move(key), .principal = std::move(principal)};
  }
  keys_ = std::move(keys);
  LogInfo("keys read", {{"file", options_.keys_file}, {"keys", keys_.size()}});
  return absl::OkStatus();
}

void Authenticator::ReloadIfChanged() {
  const auto now = options_.now();
  if (now - looked_ < options_.recheck) return;
  looked_ = now;
  const FileMark mark = Look();
  if (mark == read_) return;
  // Also when it cannot be read: it is tried, and complained of, once a change.
  read_ = mark;
  if (const absl::Status status = Load(); !status.ok()) {
    LogError("keys not read; those before hold on", {{"error", std::string(status.message())}});
  }
}

absl::StatusOr<Principal> Authenticator::Authorise(const Credentials& credentials, Scope scope) {
  const std::string_view text = PresentedSecret(credentials);
  if (text.empty()) {
    return absl::UnauthenticatedError(
        "an API key is needed: send `authorization: Bearer KEY` or `x-api-key: KEY`");
  }
  const std::optional<PresentedKey> presented = SplitKey(text);
  if (!presented.has_value()) return UnknownKey();
  MutexLock lock(mutex_);
  ReloadIfChanged();
  const auto found = keys_.find(presented->id);
  if (found == keys_.end()) return UnknownKey();
  const auto& [key, principal] = found->second;
  if (!EqualSecrets(SaltedHash(key.salt(), presented->secret), key.hash()) || key.revoked()) {
    return UnknownKey();
  }
  if (key.expires_s() != 0 && options_.unix_seconds() >= key.expires_s()) {
    return absl::UnauthenticatedError("the API key has expired; ask for another");
  }
  if (!principal.scopes.Has(scope)) {
    return absl::PermissionDeniedError(absl::StrFormat(
        "the API key may not do this: it lacks the scope '%s'", NameOfScope(scope)));
  }
  return principal;
}

}  // namespace trireme
