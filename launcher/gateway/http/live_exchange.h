// The exchange of a request that came over a connection.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <utility>

#include "launcher/gateway/http/connection.h"
#include "launcher/gateway/http/exchange.h"

namespace trireme {

// Connection and exchange hold each other while a reply is due.
class LiveExchange final : public Exchange, public std::enable_shared_from_this<LiveExchange> {
 public:
  LiveExchange(std::shared_ptr<Connection> connection, HttpRequest request)
      : connection_(std::move(connection)), request_(std::move(request)) {}

  const HttpRequest& request() const override { return request_; }
  void Reply(HttpResponse response) override;
  void Produce(Producer producer) override;
  void Wake() override;
  bool streaming() const override;
  void Write(std::string_view bytes) override;
  void Finish() override;

 private:
  friend class Connection;

  bool current() const { return connection_->exchange_.get() == this; }
  // By the connection, on its strand: the reply has ended, or never will.
  void Release(bool gone);

  const std::shared_ptr<Connection> connection_;
  const HttpRequest request_;
  std::optional<Producer> producer_;  // on the strand
  std::atomic<bool> woken_ = false;
};

}  // namespace trireme
