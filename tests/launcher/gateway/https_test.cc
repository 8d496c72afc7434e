// The same server under TLS: handshakes that are refused, clients that show a certificate, and a
// certificate that is replaced while it serves.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/write.hpp>
#include <thread>

#include "launcher/gateway/http/server.h"
#include "tests/launcher/gateway/raw_client.h"
#include "tests/launcher/tls/pki_files.h"
#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

namespace asio = boost::asio;
using testing::HasSubstr;

class HttpsTest : public testing::Test {
 protected:
  void StartServer(bool ask_for_certificates) {
    files_ = WriteServer(folder_, authority_.Sign("first"));
    if (ask_for_certificates) {
      files_.client_ca = WritePem(folder_, "ca.pem", authority_.certificate());
    }
    auto server =
        HttpServer::Start({.listen = "127.0.0.1:0", .tls = files_},
                          [](const HttpRequest& head) -> std::variant<HttpTaker, HttpResponse> {
                            return Refusal(404, "for", "client=" + head.client_certificate);
                          });
    ASSERT_OK(server);
    server_ = *std::move(server);
  }
  struct Answer {
    std::string text;         // "": the handshake or the request failed
    std::string server_name;  // of the certificate
  };
  // As a client that trusts the authority, with a certificate of that name ("": none).
  Answer Ask(const std::string& name) {
    asio::io_context io;
    asio::ssl::context context(asio::ssl::context::tls_client);
    const std::string ca = authority_.certificate();
    context.add_certificate_authority(asio::buffer(ca));
    context.set_verify_mode(asio::ssl::verify_peer);
    if (!name.empty()) {
      const TestAuthority::Signed made = authority_.Sign(name);
      context.use_certificate(asio::buffer(made.certificate), asio::ssl::context::pem);
      context.use_private_key(asio::buffer(made.key), asio::ssl::context::pem);
    }
    asio::ssl::stream<asio::ip::tcp::socket> stream(io, context);
    const std::string address = server_->address();
    boost::system::error_code error;
    stream.lowest_layer().connect(
        {asio::ip::make_address("127.0.0.1"),
         static_cast<uint16_t>(std::atoi(address.c_str() + address.rfind(':') + 1))},
        error);
    if (!error) stream.handshake(asio::ssl::stream_base::client, error);
    if (error) return {};
    char subject[64] = {};
    X509_NAME_get_text_by_NID(
        X509_get_subject_name(SSL_get0_peer_certificate(stream.native_handle())), NID_commonName,
        subject, sizeof subject);
    const std::string request = "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    asio::write(stream, asio::buffer(request), error);
    std::string text;
    asio::read(stream, asio::dynamic_buffer(text), error);
    return {.text = text, .server_name = subject};
  }

  TempDirectory folder_;
  TestAuthority authority_{"authority"};
  ServerTlsFiles files_;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpsTest, AnswersUnderTlsAndNothingElse) {
  StartServer(/*ask_for_certificates=*/false);
  EXPECT_THAT(Ask("").text, HasSubstr("client="));
  RawClient plain(server_->address());
  plain.Send(Get("/"));
  EXPECT_EQ(plain.Read().status, 0);
}

TEST_F(HttpsTest, ClientsShowTheirCertificateWhereItIsAskedFor) {
  StartServer(/*ask_for_certificates=*/true);
  EXPECT_THAT(Ask("somebody").text, HasSubstr("client=somebody"));
  EXPECT_EQ(Ask("").text, "");
}

TEST_F(HttpsTest, ARenewedCertificateIsUsedWithoutARestart) {
  StartServer(/*ask_for_certificates=*/false);
  EXPECT_EQ(Ask("").server_name, "first");
  WriteServer(folder_, authority_.Sign("second"));
  const Deadline deadline = Deadline::AfterMs(20'000);
  while (Ask("").server_name != "second") {
    ASSERT_FALSE(deadline.Passed());
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  // One that is of no use leaves the last in use.
  WritePem(folder_, "server.pem", "nothing");
  std::this_thread::sleep_for(std::chrono::milliseconds(1'200));
  EXPECT_EQ(Ask("").server_name, "second");
}

TEST_F(HttpsTest, FilesThatAreNoneAreRefused) {
  const HttpDoor door = [](const HttpRequest&) { return Refusal(404, "no", "no"); };
  EXPECT_FALSE(
      HttpServer::Start({.listen = "127.0.0.1:0",
                         .tls = {.certificate = "/nowhere", .key = "/nowhere", .client_ca = ""}},
                        door)
          .ok());
}

}  // namespace
}  // namespace trireme
