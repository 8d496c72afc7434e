// What a request may ask for beyond its tokens, through the whole way: several completions, stop
// strings, the prompt's scores.
#include "tests/launcher/service/service_fixture.h"

namespace trireme {
namespace {

using testing::ElementsAreArray;

TEST_F(ServiceTest, ChoicesShareAStreamAndAnEndOfTheirOwn) {
  TestGroup group(server_->address(), "a");
  ASSERT_TRUE(WaitUntilServing());
  v1::GenerateRequest request = Request(20);
  request.set_n(3);
  const Streamed streamed = Generate(request);
  EXPECT_TRUE(streamed.status.ok()) << streamed.status.error_message();
  EXPECT_TRUE(streamed.indices_in_order);
  ASSERT_EQ(streamed.choices.size(), 3u);
  for (uint32_t choice = 0; choice < 3; ++choice) {
    // The executor draws alike for all.
    EXPECT_THAT(streamed.choices.at(choice), ElementsAreArray(Expected(20)));
    EXPECT_EQ(streamed.ends.at(choice), 1);
  }
  EXPECT_EQ(streamed.last.usage().prompt_tokens(), 3) << "once";
  EXPECT_EQ(streamed.last.usage().completion_tokens(), 60);

  v1::GenerateResponse whole;
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kPatience);
  ASSERT_TRUE(stub_->GenerateUnary(&context, request, &whole).ok());
  ASSERT_EQ(whole.choices_size(), 3);
  EXPECT_EQ(whole.tokens_size(), 0);
  for (const v1::GenerateResponse& choice : whole.choices()) {
    EXPECT_THAT(choice.tokens(), ElementsAreArray(Expected(20)));
    EXPECT_EQ(choice.text(), streamed.text);
    EXPECT_EQ(choice.finish_reason(), v1::FINISH_REASON_LENGTH);
  }
  EXPECT_EQ(whole.choices(2).choice(), 2u);
  EXPECT_EQ(whole.usage().prompt_tokens(), 3);
  EXPECT_EQ(whole.usage().completion_tokens(), 60);
}

TEST_F(ServiceTest, MoreChoicesThanAGroupHasRoomForAreRefused) {
  TestGroup group(server_->address(), "a");
  ASSERT_TRUE(WaitUntilServing());
  v1::GenerateRequest request = Request(4);
  request.set_n(kEngine.max_sequences + kEngine.max_waiting + 1);
  EXPECT_EQ(Generate(request).status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(Generate(Request(4)).tokens.size(), 4u);
}

TEST_F(ServiceTest, AStopStringEndsTheTextBeforeIt) {
  TestGroup group(server_->address(), "a");
  ASSERT_TRUE(WaitUntilServing());
  const std::string text = Generate(Request(40)).text;
  const std::string stop = text.substr(text.size() / 2, 6);
  v1::GenerateRequest request = Request(40);
  request.add_stop(stop);
  const Streamed streamed = Generate(request);
  EXPECT_TRUE(streamed.status.ok()) << streamed.status.error_message();
  EXPECT_EQ(streamed.last.finish_reason(), v1::FINISH_REASON_STOP);
  EXPECT_EQ(streamed.text, text.substr(0, text.find(stop)));
  EXPECT_LT(streamed.tokens.size(), 40u);
  EXPECT_THAT(streamed.tokens, ElementsAreArray(Expected(streamed.tokens.size())));
}

TEST_F(ServiceTest, AStopStringIsFoundAcrossALoss) {
  TestGroup reference(server_->address(), "a");
  ASSERT_TRUE(WaitUntilServing());
  const std::string text = Generate(Request(40)).text;
  const Streamed at_20 = Generate(Request(20));
  // Begins in what the first group makes and ends in what the second does.
  const std::string stop = text.substr(at_20.text.size() - 3, 8);
  v1::GenerateRequest request = Request(40);
  request.add_stop(stop);
  const Streamed alone = Generate(request);
  reference.AskToLeave();
  EXPECT_OK(reference.Result());
  TestGroup dying(server_->address(), "dying", [](uint64_t step) {
    return step == 21 ? absl::DeadlineExceededError("rank 1 is late") : absl::OkStatus();
  });
  ASSERT_TRUE(events_.WaitFor(CoordinatorEvent::Kind::kGroupAttached, "dying"));
  TestGroup healthy(server_->address(), "healthy");
  ASSERT_TRUE(events_.WaitFor(CoordinatorEvent::Kind::kGroupAttached, "healthy"));
  const Streamed streamed = Generate(request);
  EXPECT_TRUE(streamed.status.ok()) << streamed.status.error_message();
  EXPECT_THAT(streamed.tokens, ElementsAreArray(alone.tokens));
  EXPECT_EQ(streamed.text, alone.text);
  EXPECT_EQ(streamed.last.finish_reason(), v1::FINISH_REASON_STOP);
}

TEST_F(ServiceTest, APromptIsScoredOnceAndEchoed) {
  TestGroup group(server_->address(), "a");
  ASSERT_TRUE(WaitUntilServing());
  const std::string plain = Generate(Request(8)).text;
  v1::GenerateRequest request = Request(8);
  request.set_prompt_logprobs(true);
  request.set_echo(true);
  request.set_n(2);
  const Streamed streamed = Generate(request);
  EXPECT_TRUE(streamed.status.ok()) << streamed.status.error_message();
  EXPECT_EQ(streamed.scored.size(), 2u);
  EXPECT_GT(streamed.text.size(), plain.size());
  EXPECT_TRUE(streamed.text.ends_with(plain)) << streamed.text;
}

}  // namespace
}  // namespace trireme
