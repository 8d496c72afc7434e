#include "launcher/gateway/gateway.h"

#include <utility>

#include "launcher/gateway/batches/batch_runner.h"
#include "launcher/gateway/batches/batch_store.h"
#include "launcher/gateway/routes.h"
#include "launcher/gateway/status_reply.h"
#include "runtime/base/status_macros.h"

namespace trireme {

struct Gateway::Impl {
  // Of batches.
  const std::shared_ptr<KeyQuota> unlimited =
      std::make_shared<KeyQuota>(QuotaLimits(), [] { return Deadline::Clock::now(); });
  GatewayParts parts;
  std::function<absl::StatusOr<Caller>(const HttpRequest&, Scope)> authorise;
  std::unique_ptr<BatchStore> batches;  // null: none are kept
  std::unique_ptr<BatchRunner> runner;
  std::unique_ptr<HttpServer> server;  // last: its threads use the rest

  absl::Status OpenBatches(const GatewayOptions& options);
  std::variant<HttpTaker, HttpResponse> Door(const HttpRequest& head) const;
};

std::variant<HttpTaker, HttpResponse> Gateway::Impl::Door(const HttpRequest& head) const {
  absl::StatusOr<FoundRoute> found = FindRoute(head.method, head.path);
  if (absl::IsUnimplemented(found.status())) {
    HttpResponse refusal =
        Refusal(405, "method_not_allowed", "this path has no such method; see Allow");
    refusal.headers.emplace_back("Allow", std::string(found.status().message()));
    return refusal;
  }
  if (!found.ok()) return RefusalOf(found.status());
  const Route& route = *found->route;
  Caller caller;
  if (route.scope != Scope::kOpen) {
    absl::StatusOr<Caller> authorised = authorise(head, route.scope);
    if (!authorised.ok()) return RefusalOf(authorised.status());
    caller = *std::move(authorised);
  }
  return HttpTaker{
      .function =
          [this, &route, caller, id = found->id](std::shared_ptr<Exchange> exchange) {
            route.function(RouteCall{
                .parts = parts, .exchange = std::move(exchange), .caller = caller, .id = id});
          },
      .max_body_bytes = route.max_body_bytes};
}

absl::Status Gateway::Impl::OpenBatches(const GatewayOptions& options) {
  if (options.batch_directory.empty()) return absl::OkStatus();
  TRI_ASSIGN_OR_RETURN(batches, BatchStore::Open(options.batch_directory, options.batch_bytes));
  runner = std::make_unique<BatchRunner>(
      *batches, [this](const std::string& path, const std::string& tenant,
                       std::shared_ptr<Exchange> exchange) {
        const absl::StatusOr<FoundRoute> found = FindRoute("POST", path);
        if (!found.ok()) return exchange->Reply(RefusalOf(found.status()));
        // Whoever made the batch proved who he is; its lines go on when his key is gone.
        const Principal owner{.key_id = "", .tenant = tenant, .scopes = {}, .quota = unlimited};
        found->route->function(RouteCall{.parts = parts,
                                         .exchange = std::move(exchange),
                                         .caller = {.tenant = tenant, .key = owner},
                                         .id = ""});
      });
  parts.batches = batches.get();
  parts.runner = runner.get();
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Gateway>> Gateway::Start(GatewayOptions options,
                                                        ServedParts served) {
  auto impl = std::make_unique<Impl>();
  impl->parts.served = served;
  impl->parts.metrics = std::move(options.metrics);
  impl->authorise = std::move(options.authorise);
  TRI_RETURN_IF_ERROR(impl->OpenBatches(options));
  TRI_ASSIGN_OR_RETURN(impl->server, HttpServer::Start(std::move(options.http),
                                                       [raw = impl.get()](const HttpRequest& head) {
                                                         return raw->Door(head);
                                                       }));
  return std::unique_ptr<Gateway>(new Gateway(std::move(impl)));
}

Gateway::Gateway(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Gateway::~Gateway() = default;

const std::string& Gateway::address() const { return impl_->server->address(); }

}  // namespace trireme
