// What a caller may be allowed to do. A key has some of these; each gRPC method and each HTTP route
// asks for one.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace trireme {

enum class Scope : uint8_t {
  kOpen,     // anybody whom the door lets in at all
  kInfer,    // use the model
  kMetrics,  // read what is measured
  kAdmin,    // look inside
  kJoin,     // be a worker group; no key has it
};

std::string_view NameOfScope(Scope scope);
// Of those that a key may have.
std::optional<Scope> ScopeNamed(std::string_view name);

// Of a gRPC method by its path, "/trireme.v1.Inference/Chat". A method that is not known here asks
// for the most, so that a forgotten one is closed.
Scope ScopeOfMethod(std::string_view path);

class ScopeSet {
 public:
  void Add(Scope scope) { bits_ |= Bit(scope); }
  bool Has(Scope scope) const { return scope == Scope::kOpen || (bits_ & Bit(scope)) != 0; }

 private:
  static uint32_t Bit(Scope scope) { return 1u << static_cast<uint32_t>(scope); }
  uint32_t bits_ = 0;
};

}  // namespace trireme
