// A connected socket, plain or under TLS, as the few operations that a connection needs. One read
// and one write may be under way at a time. Not thread-safe: all of it on one strand.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <functional>
#include <memory>
#include <string>

namespace trireme {

class ByteStream {
 public:
  using Done = std::function<void(boost::system::error_code error, size_t bytes)>;

  virtual ~ByteStream() = default;
  virtual boost::asio::any_io_executor executor() = 0;
  // Before anything else: the TLS handshake; nothing for a plain socket.
  virtual void Open(std::function<void(boost::system::error_code)> done) = 0;
  virtual void ReadSome(boost::asio::mutable_buffer buffer, Done done) = 0;
  virtual void WriteSome(boost::asio::const_buffer buffer, Done done) = 0;
  // No more will be written; the peer is told. A read may be under way.
  virtual void FinishWriting(std::function<void()> done) = 0;
  // Ends whatever is under way. Idempotent.
  virtual void Close() = 0;
  // The common name of the peer's verified certificate; "" where there is none.
  virtual std::string PeerName() const = 0;
};

std::unique_ptr<ByteStream> MakePlainStream(boost::asio::ip::tcp::socket socket);
std::unique_ptr<ByteStream> MakeTlsStream(boost::asio::ip::tcp::socket socket,
                                          std::shared_ptr<boost::asio::ssl::context> context);

}  // namespace trireme
