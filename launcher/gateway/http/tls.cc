#include "launcher/gateway/http/tls.h"

#include <sys/stat.h>

#include <utility>

#include "absl/strings/str_format.h"
#include "runtime/base/log.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

namespace ssl = boost::asio::ssl;

absl::Status CannotUse(std::string_view what, const std::string& file,
                       const boost::system::error_code& error) {
  return absl::InvalidArgumentError(absl::StrFormat(
      "%s: expected a PEM file that can be used; %s: %s", what, file, error.message()));
}

absl::StatusOr<TlsCertificate::SharedSettings> ReadFiles(const ServerTlsFiles& files) {
  TRI_RETURN_IF_ERROR(CheckTlsFiles(files));
  auto context = std::make_shared<ssl::context>(ssl::context::tls_server);
  SSL_CTX_set_min_proto_version(context->native_handle(), TLS1_3_VERSION);
  boost::system::error_code error;
  context->use_certificate_chain_file(files.certificate, error);
  if (error) return CannotUse("certificate", files.certificate, error);
  context->use_private_key_file(files.key, ssl::context::pem, error);
  if (error) return CannotUse("key", files.key, error);
  if (files.client_ca.empty()) return context;
  // Without one, a client that comes back with a session of before is refused.
  constexpr unsigned char kSessions[] = "trireme";
  SSL_CTX_set_session_id_context(context->native_handle(), kSessions, sizeof kSessions - 1);
  context->load_verify_file(files.client_ca, error);
  if (error) return CannotUse("client_ca", files.client_ca, error);
  context->set_verify_mode(ssl::verify_peer | ssl::verify_fail_if_no_peer_cert, error);
  if (error) return CannotUse("client_ca", files.client_ca, error);
  return context;
}

// Which files these are, as far as a look at the directory tells.
std::string VersionOf(const ServerTlsFiles& files) {
  std::string version;
  for (const std::string* file : {&files.certificate, &files.key, &files.client_ca}) {
    struct stat status = {};
    if (file->empty() || stat(file->c_str(), &status) != 0) continue;
    version += absl::StrFormat("%d.%d.%d/%d;", status.st_mtim.tv_sec, status.st_mtim.tv_nsec,
                               status.st_ino, status.st_size);
  }
  return version;
}

}  // namespace

absl::StatusOr<std::unique_ptr<TlsCertificate>> TlsCertificate::Load(ServerTlsFiles files) {
  // Before reading: a change while they are read is then seen by the next Refresh.
  std::string version = VersionOf(files);
  TRI_ASSIGN_OR_RETURN(SharedSettings context, ReadFiles(files));
  return std::unique_ptr<TlsCertificate>(
      new TlsCertificate(std::move(files), std::move(context), std::move(version)));
}

TlsCertificate::SharedSettings TlsCertificate::current() const {
  MutexLock lock(mutex_);
  return context_;
}

void TlsCertificate::Refresh() {
  std::string version = VersionOf(files_);
  {
    MutexLock lock(mutex_);
    if (version == version_) return;
    version_ = std::move(version);
  }
  auto context = ReadFiles(files_);
  if (!context.ok()) {
    LogWarning("certificate not reloaded; the last one stays in use",
               {{"error", std::string(context.status().message())}});
    return;
  }
  LogInfo("certificate reloaded", {{"certificate", files_.certificate}});
  MutexLock lock(mutex_);
  context_ = *std::move(context);
}

}  // namespace trireme
