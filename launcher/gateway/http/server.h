// An HTTP/1.1 server on a few threads: keep-alive, pipelining, limits on everything a peer sends
// and on the time it takes, replies in parts. It knows no route: its owner says for each request,
// by its head alone, who takes it or why nobody does.
//
// Threads: Options::threads of `http`, which only move bytes, and as many of `http-work`, on which
// the functions run.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "launcher/gateway/http/exchange.h"
#include "launcher/gateway/http/tls.h"
#include "launcher/gateway/limits.h"

namespace trireme {

// Who takes a request once its body is there.
struct HttpTaker {
  std::function<void(std::shared_ptr<Exchange>)> function;
  size_t max_body_bytes = kMaxBodyBytes;
};
// Of a request without its body: must be quick, it runs on an `http` thread.
using HttpDoor = std::function<std::variant<HttpTaker, HttpResponse>(const HttpRequest& head)>;

struct HttpServerOptions {
  std::string listen = "127.0.0.1:8000";  // host:port; port 0 takes a free one
  int threads = 2;
  size_t max_connections = 4'096;
  ServerTlsFiles tls;  // no certificate: plain
};

class HttpServer {
 public:
  // INVALID_ARGUMENT (not an address, certificate), UNAVAILABLE (the port is taken).
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(HttpServerOptions options,
                                                           HttpDoor door);
  ~HttpServer();  // closes what is open

  // With the port that was taken.
  const std::string& address() const;
  size_t connections() const;

 private:
  struct Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace trireme
