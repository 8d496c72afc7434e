// The table of routes: what is not in it does not exist. `trireme coordinator --list-routes` prints
// it, and tests go through it, so that no route is forgotten by those who guard them.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "launcher/gateway/gateway.h"

namespace trireme {

// One request for a route's function; it replies by the exchange, now or later.
struct RouteCall {
  const GatewayParts& parts;
  std::shared_ptr<Exchange> exchange;
  Caller caller;
  std::string id;  // what stood in the path for {id}
};

struct Route {
  std::string_view method;
  std::string_view path;  // {id} stands for one segment
  Scope scope = Scope::kInfer;
  size_t max_body_bytes = 0;  // 0: a body is of no use
  void (*function)(RouteCall call) = nullptr;
};

std::span<const Route> Routes();

// Which route a request is for. NOT_FOUND (no such path), UNIMPLEMENTED (the path has other
// methods, which the message lists).
struct FoundRoute {
  const Route* route = nullptr;
  std::string id;
};
absl::StatusOr<FoundRoute> FindRoute(std::string_view method, std::string_view path);

// Their functions, each in the file of its subject.
void AnswerHealth(RouteCall call);
void AnswerReady(RouteCall call);
void AnswerMetrics(RouteCall call);
void AnswerModels(RouteCall call);
void AnswerModel(RouteCall call);
void AnswerTokenize(RouteCall call);
void AnswerDetokenize(RouteCall call);
void AnswerTokenizer(RouteCall call);
void AnswerChat(RouteCall call);
void AnswerCompletions(RouteCall call);
void AnswerUpload(RouteCall call);
void AnswerFiles(RouteCall call);
void AnswerFile(RouteCall call);
void AnswerFileContent(RouteCall call);
void AnswerDeleteFile(RouteCall call);
void AnswerCreateBatch(RouteCall call);
void AnswerBatches(RouteCall call);
void AnswerBatch(RouteCall call);
void AnswerCancelBatch(RouteCall call);

}  // namespace trireme
