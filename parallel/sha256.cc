#include "parallel/sha256.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>

#include "absl/strings/escaping.h"
#include "runtime/base/check.h"

namespace trireme {

struct Sha256::State {
  State() : evp(EVP_MD_CTX_new()) { Begin(); }
  ~State() { EVP_MD_CTX_free(evp); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  void Begin() { TRI_CHECK(evp != nullptr && EVP_DigestInit_ex(evp, EVP_sha256(), nullptr) == 1); }

  EVP_MD_CTX* evp;
};

Sha256::Sha256() : state_(std::make_unique<State>()) {}
Sha256::~Sha256() = default;

void Sha256::Add(std::span<const std::byte> bytes) {
  TRI_CHECK(EVP_DigestUpdate(state_->evp, bytes.data(), bytes.size()) == 1);
}

void Sha256::Add(std::string_view text) {
  Add(std::as_bytes(std::span<const char>(text.data(), text.size())));
}

void Sha256::Add(uint64_t number) {
  std::array<std::byte, 8> bytes{};
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(number >> (8 * i));
  Add(bytes);
}

std::string Sha256::HexDigest() {
  std::string digest(32, '\0');
  auto* bytes = reinterpret_cast<unsigned char*>(digest.data());
  TRI_CHECK(EVP_DigestFinal_ex(state_->evp, bytes, nullptr) == 1);
  state_->Begin();
  return absl::BytesToHexString(digest);
}

std::string Sha256Hex(std::span<const std::byte> bytes) {
  Sha256 hash;
  hash.Add(bytes);
  return hash.HexDigest();
}

std::string Sha256Hex(std::string_view text) {
  return Sha256Hex(std::as_bytes(std::span<const char>(text.data(), text.size())));
}

bool IsSha256Hex(std::string_view text) {
  return text.size() == 64 && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

}  // namespace trireme
