// Handshakes over loopback: who is let in, and who is not.
#include "launcher/tls/credentials.h"

#include <gmock/gmock.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <chrono>
#include <future>

#include "absl/strings/str_format.h"
#include "tests/launcher/tls/pki_files.h"
#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

using std::chrono::milliseconds;
using std::chrono::system_clock;

constexpr milliseconds kPatience{10'000};
// A refused handshake is tried again by gRPC, and nothing else comes.
constexpr milliseconds kRefused{700};

class CredentialsTest : public testing::Test {
 protected:
  void SetUp() override { server_files_ = WriteServer(directory_, authority_.Sign("server")); }

  void StartServer() {
    auto credentials = MakeServerCredentials(server_files_);
    ASSERT_OK(credentials);
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", *credentials, &port_);
    builder.RegisterCallbackGenericService(&service_);
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
  }
  void RequireClientCertificates() {
    server_files_.client_ca = WritePem(directory_, "client_ca.pem", authority_.certificate());
  }

  // Whether a new connection is made.
  bool Connects(const ClientTlsFiles& files, milliseconds patience) {
    auto credentials = MakeChannelCredentials(files);
    EXPECT_OK(credentials);
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
    arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 100);
    if (!files.server_name.empty()) arguments.SetSslTargetNameOverride(files.server_name);
    const auto channel =
        grpc::CreateCustomChannel(absl::StrFormat("127.0.0.1:%d", port_), *credentials, arguments);
    return channel->WaitForConnected(system_clock::now() + patience);
  }
  void ExpectIn(const ClientTlsFiles& files) { EXPECT_TRUE(Connects(files, kPatience)); }
  void ExpectOut(const ClientTlsFiles& files) { EXPECT_FALSE(Connects(files, kRefused)); }

  const TempDirectory directory_;
  TestAuthority authority_{"ours"};
  TestAuthority foreign_{"another"};
  ServerTlsFiles server_files_;
  grpc::CallbackGenericService service_;  // says UNIMPLEMENTED to everything
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
};

TEST_F(CredentialsTest, AClientMeetsOnlyServersThatItTrusts) {
  StartServer();
  ExpectIn(WriteClient(directory_, authority_));
  ExpectOut(WriteClient(directory_, foreign_));
}

TEST_F(CredentialsTest, TheServersCertificateMustBeForTheNameThatIsAsked) {
  StartServer();
  ClientTlsFiles client = WriteClient(directory_, authority_);
  client.server_name = "localhost";
  ExpectIn(client);
  client.server_name = "elsewhere.example";
  ExpectOut(client);
}

TEST_F(CredentialsTest, AnExpiredServerIsNotTrusted) {
  server_files_ = WriteServer(directory_, authority_.Sign("server", /*seconds=*/-60));
  StartServer();
  ExpectOut(WriteClient(directory_, authority_));
}

TEST_F(CredentialsTest, APlainClientIsRefused) {
  StartServer();
  const auto channel = grpc::CreateChannel(absl::StrFormat("127.0.0.1:%d", port_),
                                           grpc::InsecureChannelCredentials());
  EXPECT_FALSE(channel->WaitForConnected(system_clock::now() + kRefused));
}

// With TLS 1.3 a client knows that it was refused only when it reads.
TEST_F(CredentialsTest, WhereCertificatesAreAskedForOnlyValidOnesAreServed) {
  RequireClientCertificates();
  StartServer();
  const auto served = [&](const ClientTlsFiles& files, milliseconds patience) {
    auto credentials = MakeChannelCredentials(files);
    EXPECT_OK(credentials);
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    const auto channel =
        grpc::CreateCustomChannel(absl::StrFormat("127.0.0.1:%d", port_), *credentials, arguments);
    grpc::GenericStub stub(channel);
    grpc::ClientContext context;
    context.set_deadline(system_clock::now() + patience);
    const grpc::Slice empty("");
    const grpc::ByteBuffer nothing(&empty, 1);
    grpc::ByteBuffer answer;
    std::promise<grpc::StatusCode> code;
    stub.UnaryCall(&context, "/no.Such/Method", grpc::StubOptions(), &nothing, &answer,
                   [&code](const grpc::Status& status) { code.set_value(status.error_code()); });
    // The server's word: the call reached it.
    return code.get_future().get() == grpc::StatusCode::UNIMPLEMENTED;
  };
  ClientTlsFiles client = WriteClient(directory_, authority_);
  EXPECT_FALSE(served(client, kRefused)) << "without a certificate";
  ShowCertificate(directory_, foreign_.Sign("client"), client);
  EXPECT_FALSE(served(client, kRefused)) << "of a foreign authority";
  ShowCertificate(directory_, authority_.Sign("client", /*seconds=*/-60), client);
  EXPECT_FALSE(served(client, kRefused)) << "expired";
  ShowCertificate(directory_, authority_.Sign("client"), client);
  EXPECT_TRUE(served(client, kPatience));
}

TEST_F(CredentialsTest, ARenewedCertificateIsUsedWithoutARestart) {
  StartServer();
  const ClientTlsFiles client = WriteClient(directory_, foreign_);
  ExpectOut(client);
  WriteServer(directory_, foreign_.Sign("server"));
  ExpectIn(client);
}

}  // namespace
}  // namespace trireme
