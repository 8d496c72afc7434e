#include "tests/support/test_pki.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>

namespace trireme {
namespace {

template <typename Write>
std::string ToPem(Write write) {
  const std::unique_ptr<BIO, decltype(&BIO_free)> out(BIO_new(BIO_s_mem()), BIO_free);
  write(out.get());
  char* text = nullptr;
  const long size = BIO_get_mem_data(out.get(), &text);
  return std::string(text, static_cast<size_t>(size));
}

void AddExtension(X509* certificate, X509* issuer, int kind, const char* value) {
  X509V3_CTX settings;
  X509V3_set_ctx_nodb(&settings);
  X509V3_set_ctx(&settings, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &settings, kind, value);
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

}  // namespace

TestAuthority::TestAuthority(const std::string& name)
    : key_(EVP_EC_gen("P-256"), EVP_PKEY_free), certificate_(nullptr, X509_free) {
  certificate_ = Make(name, key_.get(), /*seconds=*/3600, /*authority=*/true);
}

TestAuthority::Certificate TestAuthority::Make(const std::string& name, EVP_PKEY* key,
                                               int64_t seconds, bool authority) {
  Certificate made(X509_new(), X509_free);
  X509_set_version(made.get(), X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(made.get()), serial_++);
  X509_gmtime_adj(X509_getm_notBefore(made.get()), -3600);
  X509_gmtime_adj(X509_getm_notAfter(made.get()), static_cast<long>(seconds));
  X509_set_pubkey(made.get(), key);
  X509_NAME* subject = X509_get_subject_name(made.get());
  X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
  X509* issuer = authority ? made.get() : certificate_.get();
  X509_set_issuer_name(made.get(), X509_get_subject_name(issuer));
  AddExtension(made.get(), issuer, NID_basic_constraints,
               authority ? "critical,CA:TRUE" : "CA:FALSE");
  AddExtension(made.get(), issuer, NID_subject_key_identifier, "hash");
  if (!authority) {
    AddExtension(made.get(), issuer, NID_subject_alt_name, "IP:127.0.0.1,DNS:localhost");
  }
  X509_sign(made.get(), key_.get(), EVP_sha256());
  return made;
}

TestAuthority::Signed TestAuthority::Sign(const std::string& name, int64_t seconds) {
  const Key key(EVP_EC_gen("P-256"), EVP_PKEY_free);
  const Certificate made = Make(name, key.get(), seconds, /*authority=*/false);
  return {.certificate = ToPem([&](BIO* out) { PEM_write_bio_X509(out, made.get()); }),
          .key = ToPem([&](BIO* out) {
            PEM_write_bio_PrivateKey(out, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
          })};
}

std::string TestAuthority::certificate() const {
  return ToPem([this](BIO* out) { PEM_write_bio_X509(out, certificate_.get()); });
}

}  // namespace trireme
