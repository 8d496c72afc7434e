#include "launcher/auth/key_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "launcher/auth/secret.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_directory.h"

namespace trireme {
namespace {

using testing::HasSubstr;
using testing::Not;

v1::ApiKey KeyOf(const std::string& id, const std::string& tenant) {
  v1::ApiKey key;
  key.set_id(id);
  key.set_tenant(tenant);
  key.add_scopes("infer");
  return key;
}

TEST(KeyFileTest, HoldsWhatWasMadeButNotTheKey) {
  const TempDirectory folder;
  const std::string path = folder.Path("keys.json");
  v1::ApiKey asked = KeyOf("first", "acme");
  asked.add_scopes("admin");
  asked.set_expires_s(1'900'000'000);
  asked.set_tokens_per_minute(5);
  asked.set_max_concurrent(2);
  const auto first = CreateKey(path, asked);
  ASSERT_OK(first);
  ASSERT_OK(CreateKey(path, KeyOf("", "umbrella")));

  const auto file = ReadKeyFile(path);
  ASSERT_OK(file);
  ASSERT_EQ(file->keys_size(), 2);
  const v1::ApiKey& key = file->keys(0);
  EXPECT_EQ(key.id(), "first");
  EXPECT_EQ(key.tenant(), "acme");
  EXPECT_EQ(key.scopes_size(), 2);
  EXPECT_EQ(key.expires_s(), 1'900'000'000);
  EXPECT_EQ(key.tokens_per_minute(), 5);
  EXPECT_EQ(key.max_concurrent(), 2);
  EXPECT_EQ(file->keys(1).id().size(), 12u);

  const auto parts = SplitKey(*first);
  ASSERT_TRUE(parts.has_value());
  EXPECT_EQ(parts->id, "first");
  EXPECT_EQ(parts->secret.size(), 64u) << "256 bits";
  EXPECT_EQ(SaltedHash(key.salt(), parts->secret), key.hash());
  EXPECT_THAT(ReadWholeFile(path), Not(HasSubstr(std::string(parts->secret))));
}

TEST(KeyFileTest, RevokedKeysStayInTheFile) {
  const TempDirectory folder;
  const std::string path = folder.Path("keys.json");
  ASSERT_OK(CreateKey(path, KeyOf("a", "t")));
  ASSERT_OK(RevokeKey(path, "a"));
  EXPECT_TRUE(ReadKeyFile(path)->keys(0).revoked());
  EXPECT_THAT(CreateKey(path, KeyOf("a", "t")),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("'a'")));
  EXPECT_THAT(RevokeKey(path, "b"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("'b'")));
  EXPECT_THAT(RevokeKey(folder.Path("none"), "b"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("none")));
}

TEST(KeyFileTest, RefusesWhatIsNoKey) {
  const TempDirectory folder;
  const std::string path = folder.Path("keys.json");
  for (const char* id : {"Upper", "under_score", "bl ank", "../up"}) {
    EXPECT_THAT(CreateKey(path, KeyOf(id, "t")),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("id:")))
        << id;
  }
  EXPECT_THAT(CreateKey(path, KeyOf(std::string(65, 'a'), "t")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("id:")));
  EXPECT_THAT(CreateKey(path, KeyOf("a", "")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("tenant:")));
  EXPECT_THAT(CreateKey(path, KeyOf("a", std::string(65, 't'))),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("tenant:")));
  v1::ApiKey key = KeyOf("a", "t");
  key.add_scopes("join");
  EXPECT_THAT(CreateKey(path, key),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("scopes:")));
}

TEST(KeyFileTest, RefusesFilesThatAreWrongAndSaysWhere) {
  const TempDirectory folder;
  const std::string path = folder.Path("keys.json");
  const std::string hash(64, '0'), salt(32, '0');
  const std::string good =
      "{id: a, tenant: t, scopes: [infer], salt: '" + salt + "', hash: '" + hash;
  const std::pair<std::string, const char*> cases[] = {
      {"keys: [" + good + "', color: red}]", ":1: unknown key"},
      {"keys:\n- {id: a}", "tenant"},
      {"keys: [" + good + "0'}]", "hexadecimal"},
      {"keys: [" + good + "'}, " + good + "'}]", "twice"},
      {"keys: [" + good + "', max_concurrent: -1}]", "max_concurrent"},
      {"keys: [", "keys.json"},
  };
  for (const auto& [text, why] : cases) {
    ASSERT_OK(WritePrivateFile(path, text));
    EXPECT_THAT(ReadKeyFile(path), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(why)))
        << text;
  }
  ASSERT_OK(WritePrivateFile(path, "keys: [" + good + "'}]"));
  EXPECT_OK(ReadKeyFile(path));
}

TEST(KeyFileTest, SplitsOnlyWhatHasTheFormOfAKey) {
  for (const char* text : {"", "trk_", "trk_abc", "sk_abc_def", "abc"}) {
    EXPECT_FALSE(SplitKey(text).has_value()) << text;
  }
  EXPECT_EQ(SplitKey("trk_a-b_ff_00")->secret, "ff_00");
}

}  // namespace
}  // namespace trireme
