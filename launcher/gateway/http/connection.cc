#include "launcher/gateway/http/connection.h"

#include <algorithm>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/none.hpp>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "launcher/gateway/http/live_exchange.h"
#include "launcher/gateway/http/request_head.h"

namespace trireme {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;

// What comes before the body; the head ends where fields of framing are still to follow.
std::string HeadOf(const HttpResponse& response, bool keep_alive) {
  std::string head = absl::StrFormat("HTTP/1.1 %d %s\r\nContent-Type: %s\r\n", response.status,
                                     ReasonOf(response.status), response.content_type);
  for (const auto& [name, value] : response.headers) {
    head += absl::StrFormat("%s: %s\r\n", name, value);
  }
  head += keep_alive ? "Connection: keep-alive\r\n" : "Connection: close\r\n";
  return head;
}

}  // namespace

Connection::Connection(std::unique_ptr<ByteStream> stream, std::string peer, Shared& shared)
    : stream_(std::move(stream)),
      peer_(std::move(peer)),
      shared_(shared),
      timer_(stream_->executor()),
      write_timer_(stream_->executor()) {
  ++shared_.open;
  on_chunk_ = [this](uint64_t, boost::beast::string_view extensions, Error& error) {
    extension_bytes_ += extensions.size();
    if (++chunks_ > kMaxChunks || extension_bytes_ > kMaxChunkExtensionBytes) {
      error = http::error::bad_chunk;
    }
  };
}

Connection::~Connection() { --shared_.open; }

void Connection::Start() {
  asio::dispatch(stream_->executor(), [self = shared_from_this()] {
    self->Await(kHandshakeTimeout, &Connection::Drop);
    self->stream_->Open([self](const Error& error) {
      if (error) return self->Drop();
      self->Expect();
    });
  });
}

// ---- reading

void Connection::Expect() {
  phase_ = Phase::kHead;
  parser_.emplace();
  parser_->header_limit(kMaxHeaderBytes);
  parser_->body_limit(kMaxFileBytes);
  parser_->on_chunk_header(on_chunk_);
  chunks_ = 0;
  extension_bytes_ = 0;
  keep_alive_ = false;  // until a request says so
  begun_ = !input_.empty();
  // A peer that has just come has a request to send; one that was served may take its time.
  const bool first = requests_++ == 0;
  Await(first || begun_ ? kHeaderTimeout : kKeepAliveTimeout, &Connection::OnHeadLate);
  Parse();
}

void Connection::Read() {
  if (reading_ || input_ended_ || phase_ == Phase::kClosed) return;
  if (phase_ == Phase::kReply && input_.size() >= kMaxAheadBytes) return;
  reading_ = true;
  stream_->ReadSome(asio::buffer(read_),
                    [self = shared_from_this()](const Error& error, size_t bytes) {
                      self->reading_ = false;
                      self->OnRead(error, bytes);
                    });
}

void Connection::OnRead(const Error& error, size_t bytes) {
  if (phase_ == Phase::kClosed) return;
  if (error) {
    input_ended_ = true;
    return OnInputEnd();
  }
  if (phase_ == Phase::kLinger) {
    lingered_ += bytes;
    return lingered_ > kMaxLingerBytes ? Drop() : Read();
  }
  input_.append(read_.data(), bytes);
  if (phase_ == Phase::kReply) return Read();
  if (!begun_) {
    begun_ = true;
    Await(kHeaderTimeout, &Connection::OnHeadLate);
  }
  Parse();
}

void Connection::OnInputEnd() {
  switch (phase_) {
    case Phase::kHead:
      if (!begun_) return Drop();
      [[fallthrough]];
    case Phase::kBody:
      return SendWhole(Refusal(400, "incomplete_request", "HTTP: the request ends too early"));
    case Phase::kReply: {
      // Functions that answer by themselves do so at once; a completion is not made for nobody.
      const std::shared_ptr<LiveExchange> exchange = exchange_;
      if (exchange == nullptr || !exchange->producer_.has_value()) return;
      if (in_parts_) return Drop();
      exchange->Release(/*gone=*/true);
      return SendWhole(Refusal(400, "client_closed",
                               "HTTP: the client ended its side before the reply was made"));
    }
    case Phase::kLinger:
    case Phase::kClosed:
      return Drop();
  }
}

void Connection::Parse() {
  while (phase_ == Phase::kHead || phase_ == Phase::kBody) {
    if (phase_ == Phase::kBody && parser_->is_done()) return OnRequest();
    if (!ParseSome()) break;
  }
  if (phase_ != Phase::kHead && phase_ != Phase::kBody) return;
  if (input_ended_) return OnInputEnd();
  Read();
}

bool Connection::ParseSome() {
  if (phase_ == Phase::kHead && input_.starts_with("\r\n") && !parser_->got_some()) {
    input_.erase(0, 2);  // some clients end a body with one too many
  }
  if (input_.empty()) return false;
  Error error;
  const size_t used = parser_->put(asio::buffer(input_), error);
  input_.erase(0, used);
  if (error == http::error::need_more) return false;
  if (error) {
    RefuseInput(error);
    return false;
  }
  if (phase_ == Phase::kHead) {
    if (parser_->is_header_done()) OnHead();
    return phase_ == Phase::kBody;
  }
  if (parser_->get().body().size() > taker_.max_body_bytes) {
    RefuseInput(http::error::body_limit);
    return false;
  }
  return true;
}

void Connection::OnHead() {
  const RawHead& head = parser_->get().base();
  request_ = ReadHead(head);
  request_.peer = peer_;
  request_.client_certificate = stream_->PeerName();
  keep_alive_ = parser_->keep_alive();
  chunks_understood_ = head.version() == 11;
  const bool has_body = !parser_->is_done();
  std::optional<HttpResponse> refusal = RefuseHead(head, request_);
  if (refusal.has_value()) refusal->close = true;
  if (!refusal.has_value()) {
    auto found = shared_.door(request_);
    if (auto* response = std::get_if<HttpResponse>(&found)) {
      refusal = std::move(*response);
      refusal->close |= has_body;
    } else {
      taker_ = std::get<HttpTaker>(std::move(found));
      const auto length = parser_->content_length();
      if (length && *length > taker_.max_body_bytes) refusal = RefusalOf(http::error::body_limit);
      if (refusal.has_value()) refusal->close = true;
    }
  }
  if (refusal.has_value()) return SendWhole(*std::move(refusal));
  const std::string* expect = request_.Header("expect");
  if (has_body && expect != nullptr && absl::EqualsIgnoreCase(*expect, "100-continue")) {
    Send("HTTP/1.1 100 Continue\r\n\r\n");
  }
  parser_->eager(true);
  phase_ = Phase::kBody;
  Await(kBodyTimeout, &Connection::OnBodyLate);
}

void Connection::OnRequest() {
  phase_ = Phase::kReply;
  ++awaited_;
  timer_.cancel();
  request_.body = std::move(parser_->get().body());
  exchange_ = std::make_shared<LiveExchange>(shared_from_this(), std::move(request_));
  shared_.run([function = taker_.function, exchange = exchange_] { function(exchange); });
  Read();
}

void Connection::RefuseInput(const Error& error) {
  HttpResponse refusal = RefusalOf(error);
  refusal.close = true;
  SendWhole(std::move(refusal));
}

// ---- replying

void Connection::SendWhole(HttpResponse response) {
  keep_alive_ = keep_alive_ && !response.close && !input_ended_;
  phase_ = Phase::kReply;
  corked_ = true;
  Send(HeadOf(response, keep_alive_));
  Send(absl::StrFormat("Content-Length: %d\r\n\r\n", response.body.size()));
  const std::string& method = exchange_ != nullptr ? exchange_->request_.method : request_.method;
  if (method != "HEAD") Send(response.body);
  EndReply();
}

void Connection::BeginParts(const HttpResponse& head) {
  in_parts_ = true;
  keep_alive_ = keep_alive_ && chunks_understood_;
  Send(HeadOf(head, keep_alive_));
  Send(chunks_understood_ ? "Transfer-Encoding: chunked\r\n\r\n" : "\r\n");
}

void Connection::SendPart(std::string_view bytes) {
  if (bytes.empty()) return;  // an empty chunk would be the end
  sent_ = true;
  if (!chunks_understood_) return Send(bytes);
  std::string chunk = absl::StrFormat("%x\r\n", bytes.size());
  chunk.append(bytes).append("\r\n");
  Send(chunk);
}

void Connection::EndParts() {
  corked_ = true;
  if (chunks_understood_) Send("0\r\n\r\n");
  EndReply();
}

// What was sent may still be on its way; OnWritten goes on.
void Connection::EndReply() {
  in_parts_ = false;
  ++awaited_;
  timer_.cancel();
  if (const auto exchange = std::exchange(exchange_, nullptr); exchange != nullptr) {
    exchange->Release(/*gone=*/false);
  }
  corked_ = false;
  // Everything may be sent already (the last part of a reply that ends with the connection).
  output_.empty() && writing_.empty() ? OnWritten(Error(), 0) : WriteMore();
}

void Connection::Pump() {
  const std::shared_ptr<LiveExchange> exchange = exchange_;
  if (exchange == nullptr || !exchange->producer_.has_value() || !writing_.empty()) return;
  // A copy: the reply may end in it, and the producer with that.
  const std::function<void()> pump = exchange->producer_->pump;
  corked_ = true;
  pump();
  corked_ = false;
  WriteMore();
}

void Connection::OnIdle() {
  const std::shared_ptr<LiveExchange> exchange = exchange_;
  if (exchange == nullptr || !exchange->producer_.has_value()) return;
  if (!std::exchange(sent_, false)) exchange->Write(std::string(exchange->producer_->idle_text));
  Await(exchange->producer_->idle_after, &Connection::OnIdle);
}

void Connection::Send(std::string_view bytes) {
  output_ += bytes;
  if (!corked_) WriteMore();
}

void Connection::WriteMore() {
  if (phase_ == Phase::kClosed || !writing_.empty() || output_.empty()) return;
  writing_ = std::exchange(output_, {});
  written_ = 0;
  OnWritten(Error(), 0);
}

void Connection::OnWritten(const Error& error, size_t bytes) {
  if (phase_ == Phase::kClosed) return;
  if (error) return Drop();
  written_ += bytes;
  if (written_ < writing_.size()) {
    write_timer_.expires_after(kWriteTimeout);
    write_timer_.async_wait([self = shared_from_this()](const Error& cancelled) {
      const bool late = self->write_timer_.expiry() <= std::chrono::steady_clock::now();
      if (!cancelled && late && !self->writing_.empty()) self->Drop();
    });
    stream_->WriteSome(asio::buffer(writing_.data() + written_, writing_.size() - written_),
                       [self = shared_from_this()](const Error& failed, size_t count) {
                         self->OnWritten(failed, count);
                       });
    return;
  }
  writing_.clear();
  write_timer_.cancel();
  if (!output_.empty()) return WriteMore();
  if (phase_ != Phase::kReply) return;
  if (exchange_ != nullptr) return Pump();
  if (!keep_alive_) return Linger();
  // Not from within this call: a peer that sent many requests ahead would nest them.
  asio::post(stream_->executor(), [self = shared_from_this()] {
    if (self->phase_ == Phase::kReply) self->Expect();
  });
}

void Connection::Linger() {
  phase_ = Phase::kLinger;
  Await(kLingerTimeout, &Connection::Drop);
  stream_->FinishWriting([self = shared_from_this()] {});
  if (input_ended_) return Drop();
  Read();
}

// ---- time

void Connection::Await(std::chrono::milliseconds duration, void (Connection::*then)()) {
  timer_.expires_after(duration);
  timer_.async_wait(
      [self = shared_from_this(), then, awaited = ++awaited_](const Error& cancelled) {
        if (cancelled || awaited != self->awaited_ || self->phase_ == Phase::kClosed) return;
        ((*self).*then)();
      });
}

void Connection::OnHeadLate() {
  if (!begun_ && requests_ > 1) return Drop();
  HttpResponse late = Refusal(408, "request_timeout", "HTTP: expected the request's head in 10 s");
  late.close = true;
  SendWhole(std::move(late));
}

void Connection::OnBodyLate() {
  HttpResponse late = Refusal(408, "request_timeout", "HTTP: expected the request's body in 60 s");
  late.close = true;
  SendWhole(std::move(late));
}

void Connection::Drop() {
  if (phase_ == Phase::kClosed) return;
  phase_ = Phase::kClosed;
  ++awaited_;
  timer_.cancel();
  write_timer_.cancel();
  stream_->Close();
  if (const auto exchange = std::exchange(exchange_, nullptr); exchange != nullptr) {
    exchange->Release(/*gone=*/true);
  }
}

}  // namespace trireme
