// A server that asks for API keys: whose requests they are, and what a key may take. That every
// method is behind the door is tests/e2e/auth_test.py's to show.
#include <atomic>
#include <semaphore>

#include "launcher/auth/key_file.h"
#include "launcher/auth/secret.h"
#include "tests/launcher/service/service_fixture.h"
#include "tests/support/temp_directory.h"

namespace trireme {
namespace {

class KeysTest : public ServiceTest {
 protected:
  void SetUp() override {
    acme_ = Create("a", "acme", 1, 0);
    umbrella_ = Create("u", "umbrella", 0, 60);
    keys_file_ = file_;
    join_token_file_ = folder_.Path("join-token");
    ASSERT_OK(WritePrivateFile(join_token_file_, std::string(64, 'j') + "\n"));
    StartServer("127.0.0.1:0");
  }

  std::string Create(const std::string& id, const std::string& tenant, int64_t max_concurrent,
                     int64_t tokens_per_minute) {
    v1::ApiKey key;
    key.set_id(id);
    key.set_tenant(tenant);
    key.add_scopes("infer");
    key.set_max_concurrent(max_concurrent);
    key.set_tokens_per_minute(tokens_per_minute);
    return *CreateKey(file_, key);
  }

  // With the token, where none is given.
  std::unique_ptr<TestGroup> Join(
      PrefixExecutor::BeforeStep before_step = [](uint64_t) { return absl::OkStatus(); },
      std::string token_file = "") {
    if (token_file.empty()) token_file = join_token_file_;
    return std::make_unique<TestGroup>(server_->address(), "a", std::move(before_step),
                                       std::chrono::milliseconds(50),
                                       std::chrono::milliseconds(10'000), token_file);
  }

  struct Answer {
    grpc::Status status;
    std::string retry_after;
  };
  Answer Ask(const std::string& key, const v1::GenerateRequest& request) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kPatience);
    context.AddMetadata("x-api-key", key);
    v1::GenerateResponse response;
    Answer answer{.status = stub_->GenerateUnary(&context, request, &response), .retry_after = ""};
    const auto& trailers = context.GetServerTrailingMetadata();
    if (const auto found = trailers.find("retry-after"); found != trailers.end()) {
      answer.retry_after = std::string(found->second.data(), found->second.size());
    }
    return answer;
  }

  // A call of acme's that has begun and runs until it is cancelled.
  struct Running {
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>> reader;
  };
  std::unique_ptr<Running> Begin(const std::string& key, const v1::GenerateRequest& request) {
    auto running = std::make_unique<Running>();
    running->context.AddMetadata("authorization", "Bearer " + key);
    running->reader = stub_->Generate(&running->context, request);
    v1::GenerateResponse chunk;
    EXPECT_TRUE(running->reader->Read(&chunk));
    return running;
  }

  const TempDirectory folder_;
  const std::string file_ = folder_.Path("keys.json");
  std::string acme_, umbrella_;
};

TEST_F(KeysTest, WithoutAKeyNothingIsAnswered) {
  const auto group = Join();
  ASSERT_TRUE(WaitUntilServing());
  EXPECT_EQ(Generate(Request(4)).status.error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(Ask("trk_a_00", Request(4)).status.error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_TRUE(Ask(acme_, Request(4)).status.ok());
}

TEST_F(KeysTest, AKeysPlacesAreItsOwn) {
  // Each step waits for the test, so that a call that has begun is still running.
  std::counting_semaphore<> steps(0);
  std::atomic<bool> open = false;
  const auto group = Join([&](uint64_t) {
    if (!open && !steps.try_acquire_for(kPatience)) return absl::DeadlineExceededError("no step");
    return absl::OkStatus();
  });
  ASSERT_TRUE(WaitUntilServing());
  v1::GenerateRequest request = Request(100);
  request.set_request_id("one");
  request.set_tenant("umbrella");  // what it says of itself is not asked
  steps.release(2);
  const auto running = Begin(acme_, request);

  const Answer refused = Ask(acme_, Request(4));
  EXPECT_EQ(refused.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(refused.retry_after, "1");

  // Another tenant's id is neither taken nor to be found out.
  request.set_max_tokens(1);
  open = true;
  steps.release(1'000);
  EXPECT_TRUE(Ask(umbrella_, request).status.ok());
  running->context.TryCancel();
  running->reader->Finish();
}

TEST_F(KeysTest, TokensAreCountedAsTheyAreMade) {
  const auto group = Join();
  ASSERT_TRUE(WaitUntilServing());
  EXPECT_TRUE(Ask(umbrella_, Request(100)).status.ok());  // 3 + 100 of 60
  const Answer refused = Ask(umbrella_, Request(4));
  EXPECT_EQ(refused.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  // About 44 s of debt, less what the test took.
  EXPECT_GT(std::stoi("0" + refused.retry_after), 5);
  EXPECT_LE(std::stoi("0" + refused.retry_after), 44);
  EXPECT_TRUE(Ask(acme_, Request(4)).status.ok()) << "another key's limits are its own";
}

TEST_F(KeysTest, OnlyGroupsWithTheTokenJoin) {
  const std::string wrong = folder_.Path("wrong");
  ASSERT_OK(WritePrivateFile(wrong, std::string(64, 'k') + "\n"));
  TestGroup without(server_->address(), "a");
  EXPECT_THAT(without.Result(),
              StatusIs(absl::StatusCode::kUnauthenticated, testing::HasSubstr("join token")));
  ASSERT_OK(WritePrivateFile(folder_.Path("client"), acme_ + "\n"));
  for (const std::string& file : {wrong, folder_.Path("client")}) {
    EXPECT_THAT(Join([](uint64_t) { return absl::OkStatus(); }, file)->Result(),
                StatusIs(absl::StatusCode::kUnauthenticated, testing::HasSubstr("join token")));
  }
  EXPECT_THAT(Join([](uint64_t) { return absl::OkStatus(); }, folder_.Path("none"))->Result(),
              StatusIs(absl::StatusCode::kNotFound, testing::HasSubstr("none")));
  // Another token from now on.
  ASSERT_OK(WritePrivateFile(join_token_file_, std::string(64, 'k') + "\n"));
  const auto group = Join();
  EXPECT_TRUE(WaitUntilServing());
}

TEST_F(KeysTest, KeysWithoutAWayToJoinAreRefused) {
  ServerOptions options;
  options.listen = "127.0.0.1:0";
  options.model = kTokenizer;
  options.keys_file = file_;
  EXPECT_THAT(Server::Start(options), StatusIs(absl::StatusCode::kInvalidArgument,
                                               testing::HasSubstr("--join-token-file")));
}

}  // namespace
}  // namespace trireme
