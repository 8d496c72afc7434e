#include <thread>

#include "launcher/client/inference_client.h"
#include "launcher/link/hottest_experts.h"
#include "launcher/service/server.h"
#include "tests/launcher/service/service_fixture.h"

namespace trireme {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAreArray;
using testing::HasSubstr;

TEST_F(ServiceTest, StreamsWhatTheEngineMakes) {
  TestGroup group(server_->address(), "a");
  ASSERT_TRUE(WaitUntilServing());
  const Streamed streamed = Generate(Request(40));
  EXPECT_TRUE(streamed.status.ok()) << streamed.status.error_message();
  EXPECT_THAT(streamed.tokens, ElementsAreArray(Expected(40)));
  EXPECT_TRUE(streamed.indices_in_order);
  EXPECT_EQ(streamed.last.finish_reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(streamed.last.usage().prompt_tokens(), 3);
  EXPECT_EQ(streamed.last.usage().completion_tokens(), 40);

  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kPatience);
  v1::GenerateResponse whole;
  ASSERT_TRUE(stub_->GenerateUnary(&context, Request(40), &whole).ok());
  EXPECT_THAT(whole.tokens(), ElementsAreArray(Expected(40)));
  EXPECT_EQ(whole.text(), streamed.text);
}

TEST_F(ServiceTest, AStopTokenIsReportedAndNotPartOfTheText) {
  TestGroup group(server_->address(), "a");
  ASSERT_TRUE(WaitUntilServing());
  v1::GenerateRequest request = Request(40);
  request.add_stop_tokens(Expected(6)[5]);
  const Streamed streamed = Generate(request);
  EXPECT_THAT(streamed.tokens, ElementsAreArray(Expected(6)));
  EXPECT_EQ(streamed.last.finish_reason(), v1::FINISH_REASON_STOP);
  EXPECT_EQ(Generate(Request(5)).text, streamed.text);
}

TEST_F(ServiceTest, WithoutAGroupRequestsAreUnavailable) {
  EXPECT_EQ(Generate(Request(4)).status.error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(ServiceTest, InvalidRequestsAreRefusedAndNothingElseIsDisturbed) {
  TestGroup group(server_->address(), "a");
  ASSERT_TRUE(WaitUntilServing());
  v1::GenerateRequest empty;
  empty.set_prompt("");
  empty.set_max_tokens(4);
  EXPECT_EQ(Generate(empty).status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Generate(Request(254)).status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Generate(Request(253)).tokens.size(), 253u);
}

TEST_F(ServiceTest, MessagesBeyondTheLimitAreRefused) {
  TestGroup group(server_->address(), "a");
  ASSERT_TRUE(WaitUntilServing());
  v1::GenerateRequest request;
  request.set_prompt(std::string(5 << 20, 'x'));
  request.set_max_tokens(4);
  EXPECT_EQ(Generate(request).status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST_F(ServiceTest, CancellingFreesTheEngine) {
  TestGroup group(server_->address(), "a", [](uint64_t) {
    std::this_thread::sleep_for(milliseconds(2));  // the pace of a model, not a wait
    return absl::OkStatus();
  });
  ASSERT_TRUE(WaitUntilServing());
  grpc::ClientContext context;
  const auto reader = stub_->Generate(&context, Request(250));
  v1::GenerateResponse chunk;
  ASSERT_TRUE(reader->Read(&chunk));
  const Deadline deadline = Deadline::After(kPatience);
  // The engine publishes its counts just after the tokens of a step.
  while (group.engine().status().running == 0 && !deadline.Passed()) std::this_thread::yield();
  context.TryCancel();
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  while (group.engine().status().running > 0 && !deadline.Passed()) std::this_thread::yield();
  EXPECT_EQ(group.engine().status().running, 0);
  EXPECT_LT(group.engine().status().steps, 250u);
  EXPECT_EQ(group.engine().status().free_pages, kPages);
}

TEST_F(ServiceTest, AClientsDeadlineEndsItsRequest) {
  TestGroup group(server_->address(), "a", [](uint64_t) {
    std::this_thread::sleep_for(milliseconds(5));
    return absl::OkStatus();
  });
  ASSERT_TRUE(WaitUntilServing());
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + milliseconds(100));
  v1::GenerateResponse whole;
  EXPECT_EQ(stub_->GenerateUnary(&context, Request(250), &whole).error_code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);
  const Deadline deadline = Deadline::After(kPatience);
  while (group.engine().status().free_pages < kPages && !deadline.Passed()) {
    std::this_thread::yield();
  }
  EXPECT_EQ(group.engine().status().free_pages, kPages);
}

TEST_F(ServiceTest, AGroupLostMidStreamIsContinuedByAnotherWithTheSameTokens) {
  // The first group takes the request (the oldest of equals) and dies in its 20th step.
  auto dying = std::make_unique<TestGroup>(server_->address(), "dying", [](uint64_t step) {
    return step == 20 ? absl::DeadlineExceededError("rank 1 on h2 is late") : absl::OkStatus();
  });
  ASSERT_TRUE(events_.WaitFor(CoordinatorEvent::Kind::kGroupAttached, "dying"));
  TestGroup healthy(server_->address(), "healthy");
  ASSERT_TRUE(events_.WaitFor(CoordinatorEvent::Kind::kGroupAttached, "healthy"));
  ASSERT_TRUE(WaitUntilServing());
  const Streamed streamed = Generate(Request(100));
  EXPECT_TRUE(streamed.status.ok()) << streamed.status.error_message();
  EXPECT_THAT(streamed.tokens, ElementsAreArray(Expected(100)));
  EXPECT_TRUE(streamed.indices_in_order);
  EXPECT_GT(healthy.engine().status().steps, 0u);
  EXPECT_THAT(dying->Result(), StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("rank 1")));
}

TEST_F(ServiceTest, AGroupThatComesBackContinuesItsOwnRequests) {
  auto first = std::make_unique<TestGroup>(server_->address(), "a", [](uint64_t step) {
    return step == 10 ? absl::DeadlineExceededError("rank 1 is late") : absl::OkStatus();
  });
  ASSERT_TRUE(WaitUntilServing());
  std::unique_ptr<TestGroup> second;
  std::jthread supervisor([&] {
    first->Result().IgnoreError();
    second = std::make_unique<TestGroup>(server_->address(), "a");
  });
  const Streamed streamed = Generate(Request(60));
  EXPECT_TRUE(streamed.status.ok()) << streamed.status.error_message();
  EXPECT_THAT(streamed.tokens, ElementsAreArray(Expected(60)));
  supervisor.join();
}

TEST_F(ServiceTest, HealthFollowsTheGroups) {
  auto group = std::make_unique<TestGroup>(server_->address(), "a");
  ASSERT_TRUE(WaitUntilServing());
  group->AskToLeave();
  EXPECT_OK(group->Result());
  EXPECT_TRUE(events_.WaitFor(CoordinatorEvent::Kind::kGroupLost, "a"));
  EXPECT_TRUE(events_.WaitFor(CoordinatorEvent::Kind::kNotServing));
  group = std::make_unique<TestGroup>(server_->address(), "a");
  EXPECT_TRUE(WaitUntilServing());
}

TEST_F(ServiceTest, ModelsShowTheHottestExperts) {
  TestGroup group(server_->address(), "a");
  ASSERT_TRUE(WaitUntilServing());
  EXPECT_EQ(Generate(Request(40)).tokens.size(), 40u);
  // The last step that reported is the 33rd: the prompt's, and 32 of a token each.
  std::vector<int32_t> ran = Expected(32);
  ran.insert(ran.end(), {5, 6, 7});
  std::vector<int64_t> loads(2 * kExperts);
  for (const int32_t token : ran) ++loads[static_cast<size_t>(kExperts + token % kExperts)];
  const std::vector<v1::HotExpert> expected = HottestExperts(loads, kExperts, 8);

  const Deadline deadline = Deadline::After(kPatience);
  v1::Group shown;
  while (shown.hottest_experts_size() == 0 ||
         shown.hottest_experts(0).layer_tokens() < expected[0].layer_tokens()) {
    ASSERT_FALSE(deadline.Passed()) << shown.DebugString();
    const auto models = InferenceClient({.server = server_->address()}).Models(deadline);
    ASSERT_OK(models);
    shown = models->models(0).groups(0);
  }
  ASSERT_EQ(shown.hottest_experts_size(), static_cast<int>(expected.size()));
  for (int i = 0; i < shown.hottest_experts_size(); ++i) {
    EXPECT_EQ(shown.hottest_experts(i).DebugString(),
              expected[static_cast<size_t>(i)].DebugString());
  }
}

TEST_F(ServiceTest, TwoGroupsOfOneNameAreNotBothAccepted) {
  TestGroup group(server_->address(), "a");
  ASSERT_TRUE(WaitUntilServing());
  TestGroup twin(server_->address(), "a");
  const auto models =
      InferenceClient({.server = server_->address()}).Models(Deadline::After(kPatience));
  ASSERT_OK(models);
  EXPECT_EQ(models->models(0).groups_size(), 1);
  // It keeps trying, and takes over when the first leaves.
  group.AskToLeave();
  EXPECT_OK(group.Result());
  EXPECT_TRUE(events_.WaitFor(CoordinatorEvent::Kind::kGroupAttached, "a"));
  EXPECT_TRUE(events_.WaitFor(CoordinatorEvent::Kind::kGroupAttached, "a"));
}

TEST_F(ServiceTest, ALeaderWaitsForItsCoordinator) {
  const std::string address = server_->address();
  server_.reset();
  TestGroup group(address, "a");
  StartServer(address);
  ASSERT_TRUE(WaitUntilServing());
  EXPECT_THAT(Generate(Request(10)).tokens, ElementsAreArray(Expected(10)));
}

TEST_F(ServiceTest, ALeaderThatWasGivenUpAttachesAgain) {
  server_.reset();
  liveness_.heartbeat_timeout = milliseconds(300);
  StartServer("127.0.0.1:0");
  TestGroup group(
      server_->address(), "a", [](uint64_t) { return absl::OkStatus(); },
      /*heartbeat=*/milliseconds(1'000));
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(events_.WaitFor(CoordinatorEvent::Kind::kGroupAttached, "a"));
    EXPECT_TRUE(events_.WaitFor(CoordinatorEvent::Kind::kGroupLost, "a"));
  }
}

TEST_F(ServiceTest, ALeaderWithoutACoordinatorGivesUpInTime) {
  const std::string address = server_->address();
  server_.reset();
  TestGroup group(
      address, "a", [](uint64_t) { return absl::OkStatus(); }, milliseconds(50),
      /*away=*/milliseconds(200));
  EXPECT_THAT(group.Result(), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("away")));
}

TEST_F(ServiceTest, StoppingTellsGroupsToLeave) {
  TestGroup group(server_->address(), "a");
  ASSERT_TRUE(WaitUntilServing());
  EXPECT_OK(server_->Stop(Deadline::AfterMs(0)));
  EXPECT_OK(group.Result());
}

TEST_F(ServiceTest, StoppingLetsRunningRequestsFinish) {
  std::counting_semaphore<> steps(0);
  TestGroup group(server_->address(), "a", [&](uint64_t) {
    return steps.try_acquire_for(kPatience) ? absl::OkStatus() : absl::InternalError("no step");
  });
  ASSERT_TRUE(WaitUntilServing());
  Streamed streamed;
  std::jthread client([&] { streamed = Generate(Request(20)); });
  steps.release(5);
  const Deadline deadline = Deadline::After(kPatience);
  while (group.engine().status().steps < 5 && !deadline.Passed()) std::this_thread::yield();
  std::jthread stopper([&] { EXPECT_OK(server_->Stop(Deadline::After(kPatience))); });
  ASSERT_TRUE(events_.WaitFor(CoordinatorEvent::Kind::kNotServing));
  EXPECT_THAT(Generate(Request(1)).status.error_message(), HasSubstr("stopping"));
  steps.release(1'000);
  client.join();
  stopper.join();
  EXPECT_TRUE(streamed.status.ok()) << streamed.status.error_message();
  EXPECT_THAT(streamed.tokens, ElementsAreArray(Expected(20)));
}

TEST_F(ServiceTest, ChatStreamsAndRemembersNothing) {
  TestGroup group(server_->address(), "a");
  ASSERT_TRUE(WaitUntilServing());
  InferenceClient client({.server = server_->address()});
  v1::ChatRequest request;
  request.set_max_tokens(12);
  v1::ChatMessage* message = request.add_messages();
  message->set_role("user");
  message->set_content("Hello");
  std::vector<int32_t> answers[2];
  for (std::vector<int32_t>& answer : answers) {
    EXPECT_OK(client.Chat(
        request, Deadline::After(kPatience), {}, [&](const v1::GenerateResponse& chunk) {
          answer.insert(answer.end(), chunk.tokens().begin(), chunk.tokens().end());
        }));
  }
  EXPECT_EQ(answers[0].size(), 12u);
  EXPECT_EQ(answers[0], answers[1]);
  message->set_role("nobody");
  EXPECT_THAT(client.Chat(request, Deadline::After(kPatience), {}, [](const auto&) {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("nobody")));
}

TEST_F(ServiceTest, ATakenPortIsRefused) {
  ServerOptions options;
  options.model = TRIREME_SOURCE_DIR "/tests/data/tokenizers/smollm2";
  options.listen = server_->address();
  EXPECT_THAT(Server::Start(options),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("another coordinator")));
}

TEST(ListenTest, OnlyLoopbackWithoutBeingToldOtherwise) {
  for (const char* listen : {"127.0.0.1:1", "localhost:1", "[::1]:1", "127.8.9.10:0"}) {
    EXPECT_TRUE(*IsLoopback(listen)) << listen;
  }
  for (const char* listen :
       {"0.0.0.0:1", "[::]:1", "10.0.0.1:1", "127.evil.example:1", "127.0.0.1.example.com:1"}) {
    EXPECT_FALSE(*IsLoopback(listen)) << listen;
  }
  for (const char* listen : {"", "localhost", ":1", "host:"}) {
    EXPECT_THAT(IsLoopback(listen), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("HOST")))
        << listen;
  }
  ServerOptions options;
  options.listen = "0.0.0.0:0";
  EXPECT_THAT(Server::Start(options),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--insecure")));
}

}  // namespace
}  // namespace trireme
