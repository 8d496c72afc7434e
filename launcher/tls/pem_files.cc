#include "launcher/tls/pem_files.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/stat.h>

#include <memory>
#include <string_view>

#include "absl/strings/str_format.h"
#include "runtime/base/log.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

constexpr int kWarnDays = 14;

using SslSettings = std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)>;

absl::Status Unusable(std::string_view what, const std::string& file) {
  ERR_clear_error();
  return absl::InvalidArgumentError(
      absl::StrFormat("tls: %s: %s: expected a PEM file that can be read and used", what, file));
}

absl::Status CheckKeyMode(const std::string& key) {
  struct stat status = {};
  if (stat(key.c_str(), &status) != 0 || (status.st_mode & 077) == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrFormat(
      "tls: key: others may read or change %s (mode %04o, expected 0600); chmod 600 it", key,
      status.st_mode & 07777));
}

void SayWhenItEnds(const std::string& file, const X509* certificate) {
  int days = 0, seconds = 0;
  if (certificate == nullptr ||
      ASN1_TIME_diff(&days, &seconds, nullptr, X509_get0_notAfter(certificate)) != 1) {
    return;
  }
  if (days < 0 || seconds < 0) {
    LogError("certificate has expired; no peer will accept it", {{"certificate", file}});
  } else if (days < kWarnDays) {
    LogWarning("certificate ends soon", {{"certificate", file}, {"days", days}});
  }
}

absl::Status CheckOwn(const std::string& certificate, const std::string& key, SSL_CTX* settings) {
  if (SSL_CTX_use_certificate_chain_file(settings, certificate.c_str()) != 1) {
    return Unusable("certificate", certificate);
  }
  if (key.empty()) {
    return absl::InvalidArgumentError("tls: key: expected the certificate's key; got none");
  }
  TRI_RETURN_IF_ERROR(CheckKeyMode(key));
  // It does not load beside a certificate that it is not the key of.
  if (SSL_CTX_use_PrivateKey_file(settings, key.c_str(), SSL_FILETYPE_PEM) != 1) {
    ERR_clear_error();
    return absl::InvalidArgumentError(
        absl::StrFormat("tls: key: %s: expected the PEM file of the key of %s", key, certificate));
  }
  SayWhenItEnds(certificate, SSL_CTX_get0_certificate(settings));
  return absl::OkStatus();
}

absl::Status CheckAuthority(std::string_view what, const std::string& file, SSL_CTX* settings) {
  return SSL_CTX_load_verify_file(settings, file.c_str()) == 1 ? absl::OkStatus()
                                                               : Unusable(what, file);
}

absl::StatusOr<SslSettings> MakeSettings() {
  SslSettings settings(SSL_CTX_new(TLS_method()), SSL_CTX_free);
  if (settings == nullptr) return absl::InternalError("OpenSSL cannot be set up");
  return settings;
}

}  // namespace

absl::Status CheckTlsFiles(const ServerTlsFiles& files) {
  if (files.certificate.empty()) {
    if (files.key.empty() && files.client_ca.empty()) return absl::OkStatus();
    return absl::InvalidArgumentError("tls: certificate: expected the server's; got none");
  }
  TRI_ASSIGN_OR_RETURN(const SslSettings settings, MakeSettings());
  TRI_RETURN_IF_ERROR(CheckOwn(files.certificate, files.key, settings.get()));
  if (files.client_ca.empty()) return absl::OkStatus();
  return CheckAuthority("client_ca", files.client_ca, settings.get());
}

absl::Status CheckTlsFiles(const ClientTlsFiles& files) {
  if (files.ca.empty()) {
    if (files.certificate.empty() && files.key.empty() && files.server_name.empty()) {
      return absl::OkStatus();
    }
    return absl::InvalidArgumentError(
        "tls: ca: expected the certificates of those whose servers are trusted; got none");
  }
  TRI_ASSIGN_OR_RETURN(const SslSettings settings, MakeSettings());
  TRI_RETURN_IF_ERROR(CheckAuthority("ca", files.ca, settings.get()));
  if (files.certificate.empty() && files.key.empty()) return absl::OkStatus();
  return CheckOwn(files.certificate, files.key, settings.get());
}

}  // namespace trireme
