#include "launcher/gateway/http/server.h"

#include <pthread.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "launcher/gateway/http/connection.h"
#include "runtime/base/log.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

constexpr std::chrono::milliseconds kTlsRefresh{1'000};
constexpr std::chrono::milliseconds kAcceptPause{100};

std::string NameOf(const tcp::endpoint& endpoint) {
  const std::string host = endpoint.address().to_string();
  return absl::StrFormat(endpoint.address().is_v6() ? "[%s]:%d" : "%s:%d", host, endpoint.port());
}

absl::StatusOr<tcp::endpoint> Resolve(asio::io_context& io, const std::string& listen) {
  const size_t colon = listen.rfind(':');
  if (colon == std::string::npos || colon == 0 || colon + 1 == listen.size()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("http: expected HOST:PORT such as 127.0.0.1:8000; got '%s'", listen));
  }
  std::string host = listen.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  error_code error;
  const auto found = tcp::resolver(io).resolve(host, listen.substr(colon + 1), error);
  if (error || found.empty()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("http: cannot listen on '%s': %s", listen, error.message()));
  }
  return found.begin()->endpoint();
}

}  // namespace

struct HttpServer::Impl {
  explicit Impl(HttpServerOptions given)
      : options(std::move(given)),
        io(options.threads),
        work(static_cast<size_t>(options.threads)) {}
  ~Impl();

  absl::Status Open(HttpDoor door);
  void Accept();
  void OnSocket(tcp::socket socket);
  void WatchCertificate();

  const HttpServerOptions options;
  std::string address;
  std::unique_ptr<TlsCertificate> certificate;  // null: plain
  Connection::Shared shared;
  asio::io_context io;
  asio::thread_pool work;
  tcp::acceptor acceptor{io};
  asio::steady_timer accept_timer{io};
  asio::steady_timer certificate_timer{io};
  std::vector<std::weak_ptr<Connection>> connections;  // by Accept, one at a time
  std::vector<std::jthread> threads;
};

absl::Status HttpServer::Impl::Open(HttpDoor door) {
  TRI_ASSIGN_OR_RETURN(const tcp::endpoint endpoint, Resolve(io, options.listen));
  if (!options.tls.certificate.empty()) {
    TRI_ASSIGN_OR_RETURN(certificate, TlsCertificate::Load(options.tls));
    WatchCertificate();
  }
  error_code error;
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) {
    return absl::UnavailableError(absl::StrFormat("cannot listen on %s: %s; choose another port",
                                                  options.listen, error.message()));
  }
  address = NameOf(acceptor.local_endpoint(error));
  shared.door = std::move(door);
  shared.run = [this](std::function<void()> function) { asio::post(work, std::move(function)); };
  Accept();
  for (int i = 0; i < options.threads; ++i) {
    threads.emplace_back([this] {
      pthread_setname_np(pthread_self(), "http");
      io.run();
    });
  }
  return absl::OkStatus();
}

void HttpServer::Impl::Accept() {
  acceptor.async_accept(asio::make_strand(io), [this](const error_code& error, tcp::socket socket) {
    if (error == asio::error::operation_aborted) return;
    if (!error) {
      OnSocket(std::move(socket));
      return Accept();
    }
    // Out of descriptors, as a rule: those that are open go on, and leave some day.
    accept_timer.expires_after(kAcceptPause);
    accept_timer.async_wait([this](const error_code& cancelled) {
      if (!cancelled) Accept();
    });
  });
}

void HttpServer::Impl::OnSocket(tcp::socket socket) {
  error_code ignored;
  socket.set_option(tcp::no_delay(true), ignored);
  if (shared.open >= options.max_connections) {
    const HttpResponse full = Refusal(503, "too_many_connections",
                                      "the server has as many connections as it takes; try later");
    if (certificate == nullptr) {
      socket.non_blocking(true, ignored);
      socket.write_some(
          asio::buffer(absl::StrFormat("HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n"
                                       "Retry-After: 1\r\nContent-Type: application/json\r\n"
                                       "Content-Length: %d\r\n\r\n%s",
                                       full.body.size(), full.body)),
          ignored);
    }
    socket.shutdown(tcp::socket::shutdown_both, ignored);
    return;
  }
  const tcp::endpoint peer = socket.remote_endpoint(ignored);
  auto stream = certificate == nullptr ? MakePlainStream(std::move(socket))
                                       : MakeTlsStream(std::move(socket), certificate->current());
  const auto connection = std::make_shared<Connection>(std::move(stream), NameOf(peer), shared);
  if (connections.size() > 2 * shared.open + 64) {
    std::erase_if(connections, [](const auto& weak) { return weak.expired(); });
  }
  connections.push_back(connection);
  connection->Start();
}

void HttpServer::Impl::WatchCertificate() {
  certificate_timer.expires_after(kTlsRefresh);
  certificate_timer.async_wait([this](const error_code& cancelled) {
    if (cancelled) return;
    certificate->Refresh();
    WatchCertificate();
  });
}

HttpServer::Impl::~Impl() {
  io.stop();
  threads.clear();
  work.stop();
  work.join();
  // Nothing runs any more; what is open is told so, or it would keep its requests alive.
  for (const auto& weak : connections) {
    if (const auto connection = weak.lock()) connection->Abandon();
  }
}

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(HttpServerOptions options,
                                                              HttpDoor door) {
  auto impl = std::make_unique<Impl>(std::move(options));
  TRI_RETURN_IF_ERROR(impl->Open(std::move(door)));
  LogInfo("http listening",
          {{"address", impl->address}, {"tls", impl->certificate ? "on" : "off"}});
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpServer::~HttpServer() = default;

const std::string& HttpServer::address() const { return impl_->address; }
size_t HttpServer::connections() const { return impl_->shared.open; }

}  // namespace trireme
