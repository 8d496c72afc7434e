#include "launcher/auth/scope.h"

#include <utility>

namespace trireme {
namespace {

constexpr std::pair<std::string_view, Scope> kMethods[] = {
    {"/trireme.v1.Inference/", Scope::kInfer},
    {"/inference.GRPCInferenceService/", Scope::kInfer},
    {"/trireme.v1.Admin/Metrics", Scope::kMetrics},  // before the rest of its service
    {"/trireme.v1.Admin/", Scope::kAdmin},
    {"/trireme.v1.GroupLink/", Scope::kJoin},
    {"/grpc.health.v1.Health/", Scope::kOpen},
    {"/grpc.reflection.v1alpha.ServerReflection/", Scope::kOpen},
    {"/grpc.reflection.v1.ServerReflection/", Scope::kOpen},
};

}  // namespace

std::string_view NameOfScope(Scope scope) {
  switch (scope) {
    case Scope::kOpen:
      return "open";
    case Scope::kInfer:
      return "infer";
    case Scope::kMetrics:
      return "metrics";
    case Scope::kAdmin:
      return "admin";
    case Scope::kJoin:
      return "join";
  }
  return "";
}

std::optional<Scope> ScopeNamed(std::string_view name) {
  for (const Scope scope : {Scope::kInfer, Scope::kMetrics, Scope::kAdmin}) {
    if (NameOfScope(scope) == name) return scope;
  }
  return std::nullopt;
}

Scope ScopeOfMethod(std::string_view path) {
  for (const auto& [prefix, scope] : kMethods) {
    if (path.starts_with(prefix)) return scope;
  }
  return Scope::kAdmin;
}

}  // namespace trireme
