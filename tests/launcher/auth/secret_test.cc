#include "launcher/auth/secret.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "tests/support/status_matchers.h"
#include "tests/support/temp_directory.h"

namespace trireme {
namespace {

using testing::HasSubstr;

int ModeOf(const std::string& path) {
  struct stat found = {};
  return stat(path.c_str(), &found) == 0 ? static_cast<int>(found.st_mode & 07777) : -1;
}

TEST(SecretTest, HashIsSha256OfSaltAndSecret) {
  // printf 'saltsecret' | sha256sum
  EXPECT_EQ(SaltedHash("salt", "secret"),
            "bede90386d450cea8b77b822f8887065e4e5abf132c2f9dccfcc7fbd4cba5e35");
  EXPECT_NE(SaltedHash("salt", "secret"), SaltedHash("salu", "secret"));
}

TEST(SecretTest, RandomIsOfTheAskedLengthAndNeverTheSame) {
  const auto a = RandomHex(32), b = RandomHex(32);
  ASSERT_OK(a);
  ASSERT_OK(b);
  EXPECT_EQ(a->size(), 64u);
  EXPECT_NE(*a, *b);
}

TEST(SecretTest, ComparesWholeSecrets) {
  EXPECT_TRUE(EqualSecrets("abc", "abc"));
  EXPECT_FALSE(EqualSecrets("abc", "abd"));
  EXPECT_FALSE(EqualSecrets("abc", "ab"));
  EXPECT_FALSE(EqualSecrets("", "a"));
}

TEST(SecretTest, WritesFilesThatOnlyTheirOwnerReads) {
  const TempDirectory folder;
  ASSERT_OK(WritePrivateFile(folder.Path("f"), "one"));
  ASSERT_OK(WritePrivateFile(folder.Path("f"), "two"));
  EXPECT_EQ(ModeOf(folder.Path("f")), 0600);
  EXPECT_EQ(*ReadPrivateFile(folder.Path("f")), "two");
  int files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    ++files;
  }
  EXPECT_EQ(files, 1) << "a draft was left behind";
  EXPECT_THAT(WritePrivateFile(folder.Path("missing/f"), "x"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("missing")));
}

TEST(SecretTest, RefusesFilesThatOthersMayRead) {
  const TempDirectory folder;
  const std::string path = folder.Write("f", "0123456789abcdef\n");
  for (const mode_t mode : {0644, 0640, 0604, 0660}) {
    ASSERT_EQ(chmod(path.c_str(), mode), 0);
    EXPECT_THAT(ReadSecret(path), StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("0600")));
  }
  ASSERT_EQ(chmod(path.c_str(), 0400), 0);
  EXPECT_EQ(*ReadSecret(path), "0123456789abcdef");
  EXPECT_THAT(ReadSecret(folder.path()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("plain file")));
  EXPECT_THAT(ReadSecret(folder.Path("no")),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no")));
}

TEST(SecretTest, RefusesWhatIsNoSecret) {
  const TempDirectory folder;
  for (const std::string& text :
       {std::string(), std::string("short\n"), std::string("with blanks in it, many\n"),
        std::string(1025, 'a'), std::string("\n0123456789abcdef")}) {
    const std::string path = folder.Path("f");
    ASSERT_OK(WritePrivateFile(path, text));
    EXPECT_THAT(ReadSecret(path),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("printable")));
  }
}

}  // namespace
}  // namespace trireme
