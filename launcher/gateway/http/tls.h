// The certificate of a listener, read from files that are looked at again while it runs, so that a
// certificate is renewed without a restart: connections made later get the new one, running ones
// keep theirs. Files that do not belong together or cannot be read leave the last good ones in use.
#pragma once

#include <boost/asio/ssl/context.hpp>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "launcher/tls/pem_files.h"
#include "runtime/base/mutex.h"

namespace trireme {

class TlsCertificate {
 public:
  using SharedSettings = std::shared_ptr<boost::asio::ssl::context>;

  // Errors of CheckTlsFiles; INVALID_ARGUMENT naming a file that cannot be used.
  static absl::StatusOr<std::unique_ptr<TlsCertificate>> Load(ServerTlsFiles files);

  SharedSettings current() const ABSL_LOCKS_EXCLUDED(mutex_);
  // Reads the files again if one of them has changed.
  void Refresh() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  TlsCertificate(ServerTlsFiles files, SharedSettings context, std::string version)
      : files_(std::move(files)), context_(std::move(context)), version_(std::move(version)) {}

  const ServerTlsFiles files_;
  mutable Mutex mutex_;
  SharedSettings context_ ABSL_GUARDED_BY(mutex_);
  std::string version_ ABSL_GUARDED_BY(mutex_);  // of the files: what they look like from outside
};

}  // namespace trireme
