#include "launcher/gateway/http/live_exchange.h"

#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>

namespace trireme {

void LiveExchange::Reply(HttpResponse response) {
  boost::asio::dispatch(connection_->stream_->executor(),
                        [self = shared_from_this(), response = std::move(response)]() mutable {
                          if (!self->current() || self->connection_->in_parts_) return;
                          self->connection_->SendWhole(std::move(response));
                        });
}

void LiveExchange::Produce(Producer producer) {
  boost::asio::dispatch(connection_->stream_->executor(),
                        [self = shared_from_this(), producer = std::move(producer)]() mutable {
                          self->producer_ = std::move(producer);
                          if (!self->current()) return self->Release(/*gone=*/true);
                          Connection& connection = *self->connection_;
                          if (connection.input_ended_) return connection.OnInputEnd();
                          if (!self->producer_->idle_text.empty()) {
                            connection.Await(self->producer_->idle_after, &Connection::OnIdle);
                          }
                          connection.Pump();
                        });
}

void LiveExchange::Wake() {
  if (woken_.exchange(true)) return;
  boost::asio::post(connection_->stream_->executor(), [self = shared_from_this()] {
    self->woken_ = false;
    if (self->current()) self->connection_->Pump();
  });
}

bool LiveExchange::streaming() const { return current() && connection_->in_parts_; }

void LiveExchange::Write(std::string_view bytes) {
  if (!current() || !producer_.has_value()) return;
  if (!connection_->in_parts_) connection_->BeginParts(producer_->head);
  connection_->SendPart(bytes);
}

void LiveExchange::Finish() {
  if (!current() || !producer_.has_value()) return;
  if (!connection_->in_parts_) connection_->BeginParts(producer_->head);
  connection_->EndParts();
}

void LiveExchange::Release(bool gone) {
  // The producer may hold the last reference to whoever holds this one.
  const std::shared_ptr<LiveExchange> self = shared_from_this();
  const std::optional<Producer> producer = std::exchange(producer_, std::nullopt);
  if (gone && producer.has_value()) producer->gone();
}

}  // namespace trireme
