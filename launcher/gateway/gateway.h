// The coordinator's HTTP door, as OpenAI's clients know it: JSON in and out around the same
// requests that gRPC clients send. It turns a request into an AcceptedRequest by the same admission
// and gives it to the same dispatcher; what is here is form.
//
// Every request goes one way: HttpServer → Gateway's door (route, then authorisation, by the head
// alone) → the route's function (gateway/routes.h has the one table of them).
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "launcher/auth/principal.h"
#include "launcher/gateway/http/server.h"
#include "launcher/service/server.h"

namespace trireme {

class BatchStore;
class BatchRunner;

// Who asks, as authorisation found.
struct Caller {
  std::string tenant;
  Principal key;  // empty where none is asked for
};

struct GatewayOptions {
  HttpServerOptions http;
  // Where uploaded files and batches are kept; "": both are refused.
  std::string batch_directory;
  size_t batch_bytes = size_t{1} << 30;  // of all files together
  // The one place where a request is authorised: UNAUTHENTICATED, PERMISSION_DENIED or
  // RESOURCE_EXHAUSTED refuse it. Runs on an `http` thread. Not asked for kOpen: probes, which say
  // no more than whether the server can serve.
  std::function<absl::StatusOr<Caller>(const HttpRequest& head, Scope scope)> authorise =
      [](const HttpRequest&, Scope) { return Caller(); };
  // The text of /metrics; empty: there is none.
  std::function<std::string()> metrics;
};

// What routes serve from.
struct GatewayParts {
  ServedParts served;
  std::function<std::string()> metrics;
  BatchStore* batches = nullptr;
  BatchRunner* runner = nullptr;
};

class Gateway {
 public:
  // `served` must outlive it. Errors of HttpServer::Start, and of the batch directory.
  static absl::StatusOr<std::unique_ptr<Gateway>> Start(GatewayOptions options, ServedParts served);
  // Closes what is open. Everything that could wake a request must have stopped: the dispatcher's
  // requests have ended, and its callers (gRPC) are gone.
  ~Gateway();

  // With the port that was taken.
  const std::string& address() const;

 private:
  struct Impl;
  explicit Gateway(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace trireme
