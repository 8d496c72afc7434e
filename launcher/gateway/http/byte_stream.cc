#include "launcher/gateway/http/byte_stream.h"

#include <openssl/x509.h>

#include <boost/asio/ssl/stream.hpp>
#include <utility>

namespace trireme {
namespace {

using boost::asio::ip::tcp;
using boost::system::error_code;

void CloseSocket(tcp::socket& socket) {
  error_code ignored;
  socket.close(ignored);
}

class PlainStream final : public ByteStream {
 public:
  explicit PlainStream(tcp::socket socket) : socket_(std::move(socket)) {}

  boost::asio::any_io_executor executor() override { return socket_.get_executor(); }
  void Open(std::function<void(error_code)> done) override { done(error_code()); }
  void ReadSome(boost::asio::mutable_buffer buffer, Done done) override {
    socket_.async_read_some(buffer, std::move(done));
  }
  void WriteSome(boost::asio::const_buffer buffer, Done done) override {
    socket_.async_write_some(buffer, std::move(done));
  }
  void FinishWriting(std::function<void()> done) override {
    error_code ignored;
    socket_.shutdown(tcp::socket::shutdown_send, ignored);
    done();
  }
  void Close() override { CloseSocket(socket_); }
  std::string PeerName() const override { return ""; }

 private:
  tcp::socket socket_;
};

class TlsStream final : public ByteStream {
 public:
  TlsStream(tcp::socket socket, std::shared_ptr<boost::asio::ssl::context> context)
      : context_(std::move(context)), stream_(std::move(socket), *context_) {}

  boost::asio::any_io_executor executor() override { return stream_.get_executor(); }
  void Open(std::function<void(error_code)> done) override {
    stream_.async_handshake(boost::asio::ssl::stream_base::server, std::move(done));
  }
  void ReadSome(boost::asio::mutable_buffer buffer, Done done) override {
    stream_.async_read_some(buffer, std::move(done));
  }
  void WriteSome(boost::asio::const_buffer buffer, Done done) override {
    stream_.async_write_some(buffer, std::move(done));
  }
  void FinishWriting(std::function<void()> done) override {
    stream_.async_shutdown([done = std::move(done)](error_code) { done(); });
  }
  void Close() override { CloseSocket(stream_.next_layer()); }
  std::string PeerName() const override {
    SSL* ssl = const_cast<TlsStream*>(this)->stream_.native_handle();
    const std::unique_ptr<X509, decltype(&X509_free)> peer(SSL_get1_peer_certificate(ssl),
                                                           X509_free);
    if (peer == nullptr || SSL_get_verify_result(ssl) != X509_V_OK) return "";
    char name[256] = {};
    const int size = X509_NAME_get_text_by_NID(X509_get_subject_name(peer.get()), NID_commonName,
                                               name, sizeof name);
    return size > 0 ? std::string(name, static_cast<size_t>(size)) : "";
  }

 private:
  // Of this connection: a reload gives later ones another.
  std::shared_ptr<boost::asio::ssl::context> context_;
  boost::asio::ssl::stream<tcp::socket> stream_;
};

}  // namespace

std::unique_ptr<ByteStream> MakePlainStream(tcp::socket socket) {
  return std::make_unique<PlainStream>(std::move(socket));
}

std::unique_ptr<ByteStream> MakeTlsStream(tcp::socket socket,
                                          std::shared_ptr<boost::asio::ssl::context> context) {
  return std::make_unique<TlsStream>(std::move(socket), std::move(context));
}

}  // namespace trireme
