// One client's connection: requests in, one at a time in their order, replies out. Everything about
// it happens on its strand.
//
// A client that sends ahead is read up to kMaxAheadBytes while its first request runs, which is
// also how its going is noticed: the end of its input while a reply is being produced ends that
// request. (A client that only shuts its own side down cannot be told from one that is gone.)
#pragma once

#include <array>
#include <atomic>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "launcher/gateway/http/byte_stream.h"
#include "launcher/gateway/http/server.h"

namespace trireme {

class LiveExchange;

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  // What the connections of one server share; outlives them.
  struct Shared {
    HttpDoor door;
    std::function<void(std::function<void()>)> run;  // on a thread that may take its time
    std::atomic<size_t> open = 0;
  };

  Connection(std::unique_ptr<ByteStream> stream, std::string peer, Shared& shared);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void Start();
  // As if the peer had gone. Only when nothing runs on the connection's strand any more.
  void Abandon() { Drop(); }

 private:
  friend class LiveExchange;
  using Error = boost::system::error_code;
  using Parser = boost::beast::http::request_parser<boost::beast::http::string_body>;
  enum class Phase { kHead, kBody, kReply, kLinger, kClosed };

  // Reading.
  void Expect();  // the next request
  void Read();
  void OnRead(const Error& error, size_t bytes);
  void OnInputEnd();
  void Parse();
  bool ParseSome();  // false: more input is needed, or none is wanted
  void OnHead();
  void OnRequest();
  void RefuseInput(const Error& error);

  // Replying.
  void SendWhole(HttpResponse response);
  void BeginParts(const HttpResponse& head);
  void SendPart(std::string_view bytes);
  void EndParts();
  void EndReply();
  void Pump();
  void OnIdle();
  void Send(std::string_view bytes);
  void WriteMore();
  void OnWritten(const Error& error, size_t bytes);
  void Linger();

  void Await(std::chrono::milliseconds duration, void (Connection::*then)());
  void OnHeadLate();
  void OnBodyLate();
  void Drop();  // the peer is gone, or is of no use

  const std::unique_ptr<ByteStream> stream_;
  const std::string peer_;
  Shared& shared_;
  boost::asio::steady_timer timer_;  // of the phase
  boost::asio::steady_timer write_timer_;
  uint64_t awaited_ = 0;  // which Await counts
  Phase phase_ = Phase::kHead;

  std::array<char, 8'192> read_ = {};
  bool reading_ = false;
  bool input_ended_ = false;
  std::string input_;  // read and not parsed
  std::optional<Parser> parser_;
  bool begun_ = false;  // the request has sent a byte
  size_t requests_ = 0;
  size_t chunks_ = 0;
  size_t extension_bytes_ = 0;
  size_t lingered_ = 0;
  std::function<void(uint64_t, boost::beast::string_view, Error&)> on_chunk_;
  HttpRequest request_;
  HttpTaker taker_;
  bool keep_alive_ = false;
  bool chunks_understood_ = false;  // HTTP/1.1

  std::shared_ptr<LiveExchange> exchange_;  // while a reply is due
  bool in_parts_ = false;                   // such a reply has begun
  bool sent_ = false;                       // anything, since the idle timer was set
  bool corked_ = false;                     // more is about to be sent
  std::string output_;                      // not yet given to the socket
  std::string writing_;
  size_t written_ = 0;  // of writing_
};

}  // namespace trireme
