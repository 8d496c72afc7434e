#include "launcher/auth/authenticator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "launcher/auth/key_file.h"
#include "launcher/auth/secret.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_directory.h"

namespace trireme {
namespace {

using testing::HasSubstr;

constexpr int64_t kToday = 1'800'000'000;

class AuthenticatorTest : public testing::Test {
 protected:
  void SetUp() override {
    key_ = Create("a", "acme", {.expires_s = kToday + 100});
    auto opened = Authenticator::Open({.keys_file = path_,
                                       .now = [this] { return now_; },
                                       .unix_seconds = [this] { return unix_seconds_; }});
    ASSERT_OK(opened);
    authenticator_ = *std::move(opened);
  }

  struct KeyTerms {
    int64_t expires_s = 0;
    const char* scope = "infer";
    int64_t max_concurrent = 0;
  };
  std::string Create(const std::string& id, const std::string& tenant, KeyTerms terms) {
    v1::ApiKey key;
    key.set_id(id);
    key.set_tenant(tenant);
    key.add_scopes(terms.scope);
    key.set_expires_s(terms.expires_s);
    key.set_max_concurrent(terms.max_concurrent);
    return *CreateKey(path_, key);
  }

  absl::StatusOr<Principal> Ask(const std::string& key, Scope scope = Scope::kInfer) {
    return authenticator_->Authorise({.api_key = key}, scope);
  }
  void Wait() { now_ += std::chrono::seconds(1); }

  const TempDirectory folder_;
  const std::string path_ = folder_.Path("keys.json");
  Deadline::Clock::time_point now_ = Deadline::Clock::now();
  int64_t unix_seconds_ = kToday;
  std::string key_;
  std::unique_ptr<Authenticator> authenticator_;
};

TEST_F(AuthenticatorTest, AKeyTellsWhoAsks) {
  const auto caller = Ask(key_);
  ASSERT_OK(caller);
  EXPECT_EQ(caller->key_id, "a");
  EXPECT_EQ(caller->tenant, "acme");
  EXPECT_OK(authenticator_->Authorise({.authorization = "Bearer " + key_}, Scope::kInfer));
  EXPECT_OK(authenticator_->Authorise({.authorization = "bearer " + key_}, Scope::kOpen));
}

TEST_F(AuthenticatorTest, EverythingElseIsRefused) {
  std::string other = key_;
  other.back() = other.back() == '0' ? '1' : '0';
  for (const std::string& wrong :
       {std::string("x"), other, key_ + "0", key_.substr(0, key_.size() - 1), " " + key_,
        std::string("trk_b_") + key_.substr(6), std::string("trk_a_")}) {
    EXPECT_THAT(Ask(wrong), StatusIs(absl::StatusCode::kUnauthenticated, HasSubstr("not known")));
  }
  EXPECT_THAT(Ask(""), StatusIs(absl::StatusCode::kUnauthenticated, HasSubstr("is needed")));
  for (const std::string& header :
       {key_, "Basic " + key_, "Bearer" + key_, std::string("Bearer ")}) {
    EXPECT_THAT(authenticator_->Authorise({.authorization = header}, Scope::kOpen),
                StatusIs(absl::StatusCode::kUnauthenticated, HasSubstr("")))
        << header;
  }
}

TEST_F(AuthenticatorTest, AScopeThatTheKeyLacksIsRefused) {
  for (const Scope scope : {Scope::kAdmin, Scope::kMetrics, Scope::kJoin}) {
    EXPECT_THAT(Ask(key_, scope), StatusIs(absl::StatusCode::kPermissionDenied,
                                           HasSubstr(std::string(NameOfScope(scope)))));
  }
}

TEST_F(AuthenticatorTest, KeysExpire) {
  unix_seconds_ = kToday + 99;
  EXPECT_OK(Ask(key_));
  unix_seconds_ = kToday + 100;
  EXPECT_THAT(Ask(key_), StatusIs(absl::StatusCode::kUnauthenticated, HasSubstr("expired")));
}

TEST_F(AuthenticatorTest, FollowsTheFile) {
  const std::string later = Create("b", "umbrella", {});
  EXPECT_THAT(Ask(later), StatusIs(absl::StatusCode::kUnauthenticated, HasSubstr("")));
  Wait();
  EXPECT_EQ(Ask(later)->tenant, "umbrella");
  ASSERT_OK(RevokeKey(path_, "a"));
  Wait();
  EXPECT_THAT(Ask(key_), StatusIs(absl::StatusCode::kUnauthenticated, HasSubstr("revoked")));
  EXPECT_OK(Ask(later));
}

TEST_F(AuthenticatorTest, AFileThatBecameWrongChangesNothing) {
  ASSERT_OK(WritePrivateFile(path_, "keys: ["));
  Wait();
  EXPECT_OK(Ask(key_));
  std::filesystem::remove(path_);
  Wait();
  EXPECT_OK(Ask(key_));
  Create("b", "t", {});
  Wait();
  EXPECT_THAT(Ask(key_), StatusIs(absl::StatusCode::kUnauthenticated, HasSubstr("")));
}

TEST_F(AuthenticatorTest, WhatAKeyHasTakenSurvivesAnotherReading) {
  const std::string limited = Create("b", "t", {.max_concurrent = 1});
  Wait();
  const auto lease = Ask(limited)->quota->Enter(1, 1);
  ASSERT_OK(lease);
  Create("c", "t", {});
  Wait();
  EXPECT_THAT(Ask(limited)->quota->Enter(1, 1),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("1 are running")));
}

TEST_F(AuthenticatorTest, RefusesToStartWithKeysThatOthersMayRead) {
  ASSERT_EQ(chmod(path_.c_str(), 0644), 0);
  EXPECT_THAT(Authenticator::Open({.keys_file = path_}),
              StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("chmod 600")));
}

}  // namespace
}  // namespace trireme
