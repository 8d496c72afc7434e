// Certificates for tests of TLS: authorities, and what they sign, made on the spot.
#pragma once

#include <openssl/evp.h>
#include <openssl/x509.h>

#include <memory>
#include <string>

namespace trireme {

class TestAuthority {
 public:
  explicit TestAuthority(const std::string& name);

  struct Signed {
    std::string certificate;  // PEM
    std::string key;
  };
  // For 127.0.0.1 and localhost. Valid from an hour ago until `seconds` from now.
  Signed Sign(const std::string& name, int64_t seconds = 3600);
  // PEM of its own certificate.
  std::string certificate() const;

 private:
  using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
  using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;

  Certificate Make(const std::string& name, EVP_PKEY* key, int64_t seconds, bool authority);

  Key key_;
  Certificate certificate_;
  long serial_ = 1;
};

}  // namespace trireme
