// Of a call: its own deadline, its completions, the scores of its prompt.
#include "launcher/coordinator/dispatcher.h"
#include "tests/launcher/coordinator/dispatcher_fixture.h"

namespace trireme {
namespace {

using absl::StatusCode;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

TEST_F(DispatcherTest, AClientsDeadlineEndsItsRequestWaitingOrRunning) {
  FakeGroup group;
  Attach("a", group);
  AcceptedRequest accepted = Accepted("late");
  accepted.timeout = milliseconds(0);
  FakeClient late, running, waiting;
  EXPECT_THAT(dispatcher_.Accept(accepted, late.stream),
              StatusIs(StatusCode::kDeadlineExceeded, HasSubstr("")));
  accepted.timeout = milliseconds(1'500);
  accepted.id = "running";
  const uint64_t request = *dispatcher_.Accept(accepted, running.stream);
  accepted.id = "waiting";
  ASSERT_OK(dispatcher_.Accept(accepted, waiting.stream));
  const auto submits = group.Submits();
  ASSERT_THAT(submits, SizeIs(2));
  EXPECT_EQ(submits[0].deadline_ms(), 1'500);
  SendToken(group, request, 0);
  now_ += milliseconds(1'499);
  dispatcher_.Tick();
  EXPECT_EQ(running.Read().ends, 0);
  now_ += milliseconds(1);
  dispatcher_.Tick();
  EXPECT_THAT(running.Read().error,
              StatusIs(StatusCode::kDeadlineExceeded, HasSubstr("while it ran")));
  EXPECT_THAT(waiting.Read().error,
              StatusIs(StatusCode::kDeadlineExceeded, HasSubstr("while it waited")));
  group.Submits();
  EXPECT_THAT(group.cancelled, SizeIs(2));
  EXPECT_EQ(dispatcher_.requests(), 0u);
}

TEST_F(DispatcherTest, AClientsDeadlineCountsAfterALossToo) {
  FakeGroup first, second;
  Attach("a", first);
  AcceptedRequest accepted = Accepted("a");
  accepted.timeout = seconds(5);
  FakeClient client;
  const uint64_t request = *dispatcher_.Accept(accepted, client.stream);
  SendToken(first, request, 0);
  now_ += seconds(2);
  dispatcher_.Detach(first.incarnation, absl::UnavailableError("x"));
  Attach("b", second);
  const auto submits = second.Submits();
  ASSERT_THAT(submits, SizeIs(1));
  EXPECT_EQ(submits[0].deadline_ms(), 3'000);
  // The group's own clock may see it first.
  SendError(second, request, StatusCode::kDeadlineExceeded);
  EXPECT_THAT(client.Read().error, StatusIs(StatusCode::kDeadlineExceeded, HasSubstr("")));
}

TEST_F(DispatcherTest, ChoicesAreRequestsOfOneGroupAndOneStream) {
  FakeGroup a, b;
  Attach("a", a);
  Attach("b", b);
  FakeClient client;
  const uint64_t call = *AcceptChoices(client, 3);
  const auto submits = a.Submits();
  ASSERT_THAT(submits, SizeIs(3));
  EXPECT_THAT(b.Submits(), IsEmpty());
  for (uint32_t i = 0; i < 3; ++i) {
    EXPECT_EQ(submits[i].request(), call + i);
    EXPECT_EQ(submits[i].sequence(), i);
    EXPECT_THAT(submits[i].prompt(), ElementsAre(1, 2));
  }
  SendToken(a, call + 2, 0);
  SendToken(a, call, 0, v1::UPDATE_END_STOP);
  SendToken(a, call + 2, 1, v1::UPDATE_END_STOP);
  SendToken(a, call + 1, 0, v1::UPDATE_END_LENGTH);
  using Pair = std::pair<int32_t, uint32_t>;
  EXPECT_THAT(client.Read().choices, ElementsAre(Pair(2, 0), Pair(0, 0), Pair(2, 1), Pair(1, 0)));
  EXPECT_EQ(client.ends, 3);
  EXPECT_EQ(dispatcher_.requests(), 0u);
  EXPECT_EQ(dispatcher_.Groups()[0].assigned, 0);
}

TEST_F(DispatcherTest, EachChoiceOfALostGroupGoesOnByItself) {
  FakeGroup first, second;
  Attach("a", first);
  FakeClient client;
  const uint64_t call = *AcceptChoices(client, 3);
  SendToken(first, call, 0, v1::UPDATE_END_STOP);
  SendToken(first, call + 1, 0);
  SendToken(first, call + 1, 1);
  dispatcher_.Detach(first.incarnation, absl::UnavailableError("rank 1 died"));
  Attach("b", second);
  const auto submits = second.Submits();
  ASSERT_THAT(submits, SizeIs(2));
  EXPECT_THAT(submits[0].prompt(), ElementsAre(1, 2, 10, 11));
  EXPECT_EQ(submits[0].first_draw(), 2u);
  EXPECT_EQ(submits[0].sequence(), 1u);
  EXPECT_THAT(submits[1].prompt(), ElementsAre(1, 2));
  EXPECT_EQ(submits[1].first_draw(), 0u);
  EXPECT_EQ(submits[1].sequence(), 2u);
  SendToken(second, call + 1, 2, v1::UPDATE_END_STOP);
  SendToken(second, call + 2, 0, v1::UPDATE_END_STOP);
  EXPECT_EQ(client.Read().ends, 3);
}

TEST_F(DispatcherTest, CancelEndsEveryChoice) {
  FakeGroup group;
  Attach("a", group);
  FakeClient client;
  const uint64_t call = *AcceptChoices(client, 3);
  SendToken(group, call + 1, 0, v1::UPDATE_END_STOP);
  dispatcher_.Cancel(call);
  group.Submits();
  EXPECT_THAT(group.cancelled, ElementsAre(call, call + 2));
  EXPECT_EQ(dispatcher_.requests(), 0u);
}

TEST_F(DispatcherTest, ChoicesAreAcceptedTogetherOrNotAtAll) {
  FakeGroup group;
  Attach("a", group, /*max_sequences=*/4);
  FakeClient client;
  EXPECT_THAT(AcceptChoices(client, 5),
              StatusIs(StatusCode::kResourceExhausted, HasSubstr("full")));
  EXPECT_THAT(AcceptChoices(client, 9),
              StatusIs(StatusCode::kResourceExhausted, HasSubstr("full")));
  EXPECT_EQ(dispatcher_.requests(), 0u);
  EXPECT_THAT(group.Submits(), IsEmpty());
  EXPECT_OK(AcceptChoices(client, 4));
}

TEST_F(DispatcherTest, ScoresOfThePromptAreDeliveredOnceWhoeverMakesThem) {
  FakeGroup first, second;
  Attach("a", first);
  AcceptedRequest accepted = Accepted("a");
  accepted.request.prompt = {1, 2, 2, 2};
  accepted.request.prompt_logprobs = true;
  FakeClient client;
  const uint64_t request = *dispatcher_.Accept(accepted, client.stream);
  SendScore(first, request, 1);
  SendScore(first, request, 2);
  dispatcher_.Detach(first.incarnation, absl::UnavailableError("x"));
  Attach("b", second);
  EXPECT_TRUE(second.Submits()[0].prompt_logprobs());
  for (const uint32_t index : {1, 2, 3}) SendScore(second, request, index);
  SendToken(second, request, 0, v1::UPDATE_END_STOP);
  EXPECT_THAT(client.Read().scores, ElementsAre(1, 2, 3));
  EXPECT_THAT(client.indices, ElementsAre(0));
}

TEST_F(DispatcherTest, ACallIsReportedOnceWithWhatItCameTo) {
  FakeGroup group;
  Attach("a", group);
  FakeClient both, gone;
  const uint64_t call = *AcceptChoices(both, 2);
  SendToken(group, call, 0);
  SendToken(group, call, 1, v1::UPDATE_END_STOP);
  EXPECT_THAT(ends_, IsEmpty());
  SendToken(group, call + 1, 0, v1::UPDATE_END_LENGTH);
  ASSERT_THAT(ends_, SizeIs(1));
  EXPECT_EQ(ends_[0].id, "a");
  EXPECT_EQ(ends_[0].prompt_tokens, 2);
  EXPECT_EQ(ends_[0].completion_tokens, 3);
  EXPECT_OK(ends_[0].status);

  const uint64_t cancelled = *AcceptChoices(gone, 2);
  SendToken(group, cancelled, 0);
  dispatcher_.Cancel(cancelled);
  dispatcher_.Cancel(cancelled);
  ASSERT_THAT(ends_, SizeIs(2));
  EXPECT_EQ(ends_[1].completion_tokens, 1);
  EXPECT_THAT(ends_[1].status, StatusIs(StatusCode::kCancelled, HasSubstr("")));

  FakeClient failing;
  const uint64_t failed = *AcceptChoices(failing, 2);
  SendError(group, failed, StatusCode::kInternal);
  dispatcher_.Cancel(failed);
  ASSERT_THAT(ends_, SizeIs(3));
  EXPECT_THAT(ends_[2].status, StatusIs(StatusCode::kInternal, HasSubstr("")));
}

TEST_F(DispatcherTest, NothingIsAcceptedThatMayNotBe) {
  FakeGroup group;
  Attach("a", group);
  FakeClient client;
  may_accept_ = absl::UnavailableError("not now");
  EXPECT_THAT(Accept(client), StatusIs(StatusCode::kUnavailable, HasSubstr("not now")));
  may_accept_ = absl::OkStatus();
  EXPECT_OK(Accept(client));
}

}  // namespace
}  // namespace trireme
