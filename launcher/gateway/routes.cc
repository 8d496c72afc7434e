#include "launcher/gateway/routes.h"

#include <algorithm>
#include <array>
#include <optional>

#include "absl/strings/str_format.h"

namespace trireme {
namespace {

constexpr std::array kRoutes = {
    Route{"GET", "/healthz", Scope::kOpen, 0, AnswerHealth},
    Route{"GET", "/readyz", Scope::kOpen, 0, AnswerReady},
    Route{"GET", "/metrics", Scope::kMetrics, 0, AnswerMetrics},
    Route{"GET", "/v1/models", Scope::kInfer, 0, AnswerModels},
    Route{"GET", "/v1/models/{id}", Scope::kInfer, 0, AnswerModel},
    Route{"POST", "/v1/chat/completions", Scope::kInfer, kMaxBodyBytes, AnswerChat},
    Route{"POST", "/v1/completions", Scope::kInfer, kMaxBodyBytes, AnswerCompletions},
    Route{"POST", "/v1/files", Scope::kInfer, kMaxFileBytes, AnswerUpload},
    Route{"GET", "/v1/files", Scope::kInfer, 0, AnswerFiles},
    Route{"GET", "/v1/files/{id}", Scope::kInfer, 0, AnswerFile},
    Route{"DELETE", "/v1/files/{id}", Scope::kInfer, 0, AnswerDeleteFile},
    Route{"GET", "/v1/files/{id}/content", Scope::kInfer, 0, AnswerFileContent},
    Route{"POST", "/v1/batches", Scope::kInfer, kMaxBodyBytes, AnswerCreateBatch},
    Route{"GET", "/v1/batches", Scope::kInfer, 0, AnswerBatches},
    Route{"GET", "/v1/batches/{id}", Scope::kInfer, 0, AnswerBatch},
    Route{"POST", "/v1/batches/{id}/cancel", Scope::kInfer, kMaxBodyBytes, AnswerCancelBatch},
    Route{"GET", "/tokenizer_info", Scope::kInfer, 0, AnswerTokenizer},
    Route{"POST", "/tokenize", Scope::kInfer, kMaxBodyBytes, AnswerTokenize},
    Route{"POST", "/detokenize", Scope::kInfer, kMaxBodyBytes, AnswerDetokenize},
};

// What stands for {id}, or "" where the path has none; nothing where it is another path.
std::optional<std::string> Match(std::string_view pattern, std::string_view path) {
  constexpr std::string_view kParameter = "{id}";
  const size_t begin = pattern.find(kParameter);
  if (begin == std::string_view::npos) {
    return path == pattern ? std::optional<std::string>("") : std::nullopt;
  }
  const std::string_view before = pattern.substr(0, begin);
  const std::string_view after = pattern.substr(begin + kParameter.size());
  if (path.size() <= before.size() + after.size() || !path.starts_with(before) ||
      !path.ends_with(after)) {
    return std::nullopt;
  }
  const std::string_view id = path.substr(begin, path.size() - before.size() - after.size());
  if (id.find('/') != std::string_view::npos) return std::nullopt;
  return std::string(id);
}

}  // namespace

std::span<const Route> Routes() { return kRoutes; }

absl::StatusOr<FoundRoute> FindRoute(std::string_view method, std::string_view path) {
  std::string methods;
  for (const Route& route : kRoutes) {
    std::optional<std::string> id = Match(route.path, path);
    if (!id.has_value()) continue;
    if (route.method == method) return FoundRoute{.route = &route, .id = *std::move(id)};
    methods += absl::StrFormat("%s%s", methods.empty() ? "" : ", ", route.method);
  }
  if (methods.empty()) return absl::NotFoundError("there is nothing at this path");
  return absl::UnimplementedError(methods);
}

}  // namespace trireme
