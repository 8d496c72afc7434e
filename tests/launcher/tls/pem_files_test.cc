#include "launcher/tls/pem_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/launcher/tls/pki_files.h"
#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

using absl::StatusCode;
using testing::HasSubstr;

class PemFilesTest : public testing::Test {
 protected:
  const TempDirectory directory_;
  TestAuthority authority_{"authority"};
  ServerTlsFiles server_ = WriteServer(directory_, authority_.Sign("server"));
  ClientTlsFiles client_ = WriteClient(directory_, authority_);
};

TEST_F(PemFilesTest, TakesWhatBelongsTogether) {
  EXPECT_OK(CheckTlsFiles(ServerTlsFiles()));
  EXPECT_OK(CheckTlsFiles(ClientTlsFiles()));
  EXPECT_OK(CheckTlsFiles(server_));
  server_.client_ca = client_.ca;
  EXPECT_OK(CheckTlsFiles(server_));
  EXPECT_OK(CheckTlsFiles(client_));
  ShowCertificate(directory_, authority_.Sign("client"), client_);
  EXPECT_OK(CheckTlsFiles(client_));
}

TEST_F(PemFilesTest, NamesTheFileThatIsWrong) {
  ServerTlsFiles files = server_;
  files.certificate = directory_.Path("none.pem");
  EXPECT_THAT(CheckTlsFiles(files), StatusIs(StatusCode::kInvalidArgument, HasSubstr("none.pem")));
  files = server_;
  files.certificate = directory_.Write("text.pem", "no certificate");
  EXPECT_THAT(CheckTlsFiles(files), StatusIs(StatusCode::kInvalidArgument, HasSubstr("text.pem")));
  files = server_;
  files.client_ca = files.key;
  EXPECT_THAT(CheckTlsFiles(files), StatusIs(StatusCode::kInvalidArgument, HasSubstr("client_ca")));
  client_.ca = directory_.Path("none.pem");
  EXPECT_THAT(CheckTlsFiles(client_), StatusIs(StatusCode::kInvalidArgument, HasSubstr("ca")));
}

TEST_F(PemFilesTest, RefusesAKeyOfAnotherCertificate) {
  server_.key = WritePem(directory_, "other.key", authority_.Sign("other").key);
  EXPECT_THAT(CheckTlsFiles(server_),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("other.key")));
  server_.key = "";
  EXPECT_THAT(CheckTlsFiles(server_), StatusIs(StatusCode::kInvalidArgument, HasSubstr("key")));
}

TEST_F(PemFilesTest, RefusesAKeyThatOthersMayRead) {
  std::filesystem::permissions(server_.key, std::filesystem::perms::group_read,
                               std::filesystem::perm_options::add);
  EXPECT_THAT(CheckTlsFiles(server_), StatusIs(StatusCode::kFailedPrecondition, HasSubstr("0640")));
}

TEST_F(PemFilesTest, RefusesHalfOfWhatItTakes) {
  EXPECT_THAT(CheckTlsFiles(ServerTlsFiles{.client_ca = client_.ca}),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("certificate")));
  EXPECT_THAT(CheckTlsFiles(ClientTlsFiles{.server_name = "server"}),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("ca")));
}

}  // namespace
}  // namespace trireme
