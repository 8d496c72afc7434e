// Who asks, and may they: from the key that a caller presents to a Principal, or a refusal. Every
// front door asks this one object, and everything that is not allowed is refused.
//
// Keys are read from a file (auth/key_file.h) that may change while the server runs: at most a few
// times a second a caller finds it looked at again. A file that has become unreadable or wrong
// changes nothing: the last keys that were read hold on, and the log says why.
//
// Thread-safe.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "launcher/auth/principal.h"
#include "runtime/base/deadline.h"
#include "runtime/base/mutex.h"
#include "trireme/v1/keys.pb.h"

namespace trireme {

// What a call brings along, as its headers say; "": not there.
struct Credentials {
  std::string_view authorization;  // "Bearer KEY"
  std::string_view api_key;        // KEY
};
// The word that proves who asks; `api_key` where both are there. "": none.
std::string_view PresentedSecret(const Credentials& credentials);

struct AuthenticatorOptions {
  std::string keys_file;
  std::chrono::milliseconds recheck{250};  // between looks at the file
  std::function<Deadline::Clock::time_point()> now = [] { return Deadline::Clock::now(); };
  // Seconds since 1970: what keys expire by.
  std::function<int64_t()> unix_seconds = [] {
    return std::chrono::duration_cast<std::chrono::seconds>(
               std::chrono::system_clock::now().time_since_epoch())
        .count();
  };
};

class Authenticator {
 public:
  // The errors of ReadKeyFile.
  static absl::StatusOr<std::unique_ptr<Authenticator>> Open(AuthenticatorOptions options);

  // UNAUTHENTICATED: no key, or not one that holds. PERMISSION_DENIED: it does not have the scope.
  absl::StatusOr<Principal> Authorise(const Credentials& credentials, Scope scope)
      ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Entry {
    v1::ApiKey key;
    Principal principal;
  };
  // What tells that the file is another than the one that was read.
  struct FileMark {
    dev_t device = 0;
    ino_t inode = 0;
    off_t size = 0;
    timespec changed = {};
    bool operator==(const FileMark& other) const;
  };

  explicit Authenticator(AuthenticatorOptions options);
  absl::Status Load() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ReloadIfChanged() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  FileMark Look() const;

  const AuthenticatorOptions options_;
  Mutex mutex_;
  std::map<std::string, Entry, std::less<>> keys_ ABSL_GUARDED_BY(mutex_);
  FileMark read_ ABSL_GUARDED_BY(mutex_);
  Deadline::Clock::time_point looked_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace trireme
