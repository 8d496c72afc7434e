#include "launcher/supervisor/join_token.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "launcher/auth/secret.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_directory.h"

namespace trireme {
namespace {

TEST(JoinTokenTest, IsASecretOfItsOwnThatGoesWithItsOwner) {
  const TempDirectory folder;
  setenv("TMPDIR", folder.path().c_str(), 1);
  std::string path;
  {
    const auto token = JoinToken::Make(), other = JoinToken::Make();
    ASSERT_OK(token);
    ASSERT_OK(other);
    path = (*token)->path();
    EXPECT_THAT(path, testing::StartsWith(folder.path()));
    const auto secret = ReadSecret(path);
    ASSERT_OK(secret);
    EXPECT_EQ(secret->size(), 64u);
    EXPECT_NE(*secret, *ReadSecret((*other)->path()));
    const auto mode = std::filesystem::status(std::filesystem::path(path).parent_path());
    EXPECT_EQ(mode.permissions(), std::filesystem::perms::owner_all);
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  setenv("TMPDIR", "/no/such/directory", 1);
  EXPECT_THAT(JoinToken::Make(), StatusIs(absl::StatusCode::kUnavailable, testing::_));
  unsetenv("TMPDIR");
}

}  // namespace
}  // namespace trireme
