#include "launcher/coordinator/dispatcher.h"

#include "launcher/load/refusal.h"
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

TEST_F(DispatcherTest, RefusesWithoutAGroupAndServesOnceOneAttaches) {
  FakeClient client;
  EXPECT_THAT(Accept(client), StatusIs(StatusCode::kUnavailable, HasSubstr("no worker group")));
  FakeGroup group;
  Attach("g", group);
  dispatcher_.Tick();
  ASSERT_THAT(events_, SizeIs(2));
  EXPECT_EQ(events_[0].kind, CoordinatorEvent::Kind::kGroupAttached);
  EXPECT_EQ(events_[1].kind, CoordinatorEvent::Kind::kServing);
  const uint64_t request = *Accept(client);
  ASSERT_THAT(group.Submits(), SizeIs(1));
  SendToken(group, request, 0);
  SendToken(group, request, 1, v1::UPDATE_END_STOP);
  EXPECT_THAT(client.Read().tokens, ElementsAre(10, 11));
  EXPECT_EQ(client.finish, FinishReason::kStop);
  EXPECT_EQ(dispatcher_.requests(), 0u);
}

TEST_F(DispatcherTest, ALostGroupsRequestGoesOnElsewhereAfterTheLastDeliveredToken) {
  FakeGroup first, second;
  Attach("a", first);
  FakeClient client;
  const uint64_t request = *Accept(client);
  SendToken(first, request, 0);
  SendToken(first, request, 1);
  dispatcher_.Detach(first.incarnation, absl::UnavailableError("rank 1 died"));
  EXPECT_EQ(client.Read().ends, 0) << "a pause, not an error";
  now_ += seconds(29);
  dispatcher_.Tick();
  Attach("b", second);
  const auto submits = second.Submits();
  ASSERT_THAT(submits, SizeIs(1));
  EXPECT_THAT(submits[0].prompt(), ElementsAre(1, 2, 10, 11));
  EXPECT_EQ(submits[0].first_draw(), 2u);
  EXPECT_EQ(submits[0].max_tokens(), 6);
  // Whatever the first still says is dropped.
  SendToken(first, request, 2);
  SendToken(second, request, 2);
  SendToken(second, request, 3, v1::UPDATE_END_LENGTH);
  EXPECT_THAT(client.Read().indices, ElementsAre(0, 1, 2, 3));
  EXPECT_EQ(client.finish, FinishReason::kLength);
}

TEST_F(DispatcherTest, NoOtherGroupInTimeEndsTheRequestNamingTheCause) {
  FakeGroup group;
  Attach("a", group);
  FakeClient client;
  ASSERT_OK(Accept(client));
  dispatcher_.Detach(group.incarnation, absl::UnavailableError("rank 1 died"));
  now_ += seconds(30);
  dispatcher_.Tick();
  EXPECT_EQ(client.Read().ends, 1);
  EXPECT_THAT(client.error, StatusIs(StatusCode::kUnavailable, HasSubstr("rank 1 died")));
}

TEST_F(DispatcherTest, ARequestThatLivesThroughTooManyLossesIsNotTriedAgain) {
  FakeClient client;
  FakeGroup groups[3];
  Attach("a", groups[0]);
  ASSERT_OK(Accept(client));
  dispatcher_.Detach(groups[0].incarnation, absl::UnavailableError("x"));
  Attach("a", groups[1]);
  EXPECT_THAT(groups[1].Submits(), SizeIs(1));
  dispatcher_.Detach(groups[1].incarnation, absl::UnavailableError("x"));
  EXPECT_THAT(client.Read().error, StatusIs(StatusCode::kInternal, HasSubstr("2 groups")));
  Attach("a", groups[2]);
  EXPECT_THAT(groups[2].Submits(), IsEmpty());
}

TEST_F(DispatcherTest, AGroupThatLeavesInOrderIsNoLossOfTheRequest) {
  FakeClient client;
  FakeGroup groups[4];
  Attach("a", groups[0]);
  ASSERT_OK(Accept(client));
  for (int i = 0; i < 3; ++i) {
    dispatcher_.Detach(groups[i].incarnation, absl::OkStatus());
    Attach("a", groups[i + 1]);
    EXPECT_THAT(groups[i + 1].Submits(), SizeIs(1));
  }
  EXPECT_EQ(client.Read().ends, 0);
}

TEST_F(DispatcherTest, SilenceLosesTheGroupAndItsLinkIsClosed) {
  FakeGroup group;
  Attach("a", group);
  FakeClient client;
  ASSERT_OK(Accept(client));
  dispatcher_.Tick();
  now_ += milliseconds(2'100);
  dispatcher_.Tick();
  group.Read();
  ASSERT_TRUE(group.closed.has_value());
  EXPECT_THAT(*group.closed, StatusIs(StatusCode::kUnavailable, HasSubstr("no heartbeat")));
  EXPECT_EQ(events_.back().kind, CoordinatorEvent::Kind::kNotServing);
}

TEST_F(DispatcherTest, SkippedTokensLoseTheGroup) {
  FakeGroup group;
  Attach("a", group);
  FakeClient client;
  const uint64_t request = *Accept(client);
  SendToken(group, request, 1);
  group.Read();
  ASSERT_TRUE(group.closed.has_value());
  EXPECT_THAT(*group.closed, StatusIs(StatusCode::kInternal, HasSubstr("expected index 0; got 1")));
  EXPECT_THAT(client.Read().tokens, IsEmpty());
}

TEST_F(DispatcherTest, RepeatedTokensAreDeliveredOnce) {
  FakeGroup group;
  Attach("a", group);
  FakeClient client;
  const uint64_t request = *Accept(client);
  for (const uint32_t index : {0, 0, 1, 0, 1, 2}) SendToken(group, request, index);
  EXPECT_THAT(client.Read().indices, ElementsAre(0, 1, 2));
}

TEST_F(DispatcherTest, ARequestsOwnErrorEndsItAndNothingElse) {
  FakeGroup group;
  Attach("a", group);
  FakeClient bad, good;
  const uint64_t poisoned = *Accept(bad, "bad");
  const uint64_t other = *Accept(good, "good");
  SendError(group, poisoned, StatusCode::kInternal);
  SendToken(group, other, 0);
  EXPECT_THAT(bad.Read().error, StatusIs(StatusCode::kInternal, HasSubstr("because")));
  EXPECT_THAT(good.Read().tokens, ElementsAre(10));
}

TEST_F(DispatcherTest, AGroupThatEndsRequestsAsUnavailableIsLostAndTheyGoOn) {
  FakeGroup first, second;
  Attach("a", first);
  Attach("b", second);
  FakeClient client;
  const uint64_t request = *Accept(client);
  SendError(first, request, StatusCode::kUnavailable);
  dispatcher_.Tick();
  EXPECT_EQ(client.Read().ends, 0);
  EXPECT_THAT(second.Submits(), SizeIs(1));
  first.Read();
  EXPECT_TRUE(first.closed.has_value());
}

TEST_F(DispatcherTest, CancelReachesTheGroupAndNothingMoreIsDelivered) {
  FakeGroup group;
  Attach("a", group);
  FakeClient client;
  const uint64_t request = *Accept(client);
  dispatcher_.Cancel(request);
  dispatcher_.Cancel(request);
  dispatcher_.Cancel(999);
  group.Submits();
  EXPECT_THAT(group.cancelled, ElementsAre(request));
  SendToken(group, request, 0);
  EXPECT_THAT(client.Read().tokens, IsEmpty());
  EXPECT_EQ(dispatcher_.Groups()[0].assigned, 0);
}

TEST_F(DispatcherTest, ASlowClientIsCutOffAndItsRequestCancelled) {
  FakeGroup group;
  Attach("a", group);
  FakeClient client;
  client.stream = std::make_shared<StreamMailbox>(3 * sizeof(StreamEvent), [] {});
  const uint64_t request = *Accept(client);
  for (uint32_t index = 0; index < 5; ++index) SendToken(group, request, index);
  EXPECT_THAT(client.Read().indices, ElementsAre(0, 1, 2));
  EXPECT_THAT(client.error, StatusIs(StatusCode::kResourceExhausted, HasSubstr("slowly")));
  EXPECT_EQ(client.ends, 1);
  group.Submits();
  EXPECT_THAT(group.cancelled, ElementsAre(request));
}

TEST_F(DispatcherTest, FullQueuesRefuseAndRecover) {
  FakeGroup group;
  Attach("a", group, /*max_sequences=*/2);
  FakeClient clients[3];
  const uint64_t first = *Accept(clients[0], "1");
  ASSERT_OK(Accept(clients[1], "2"));
  EXPECT_THAT(Accept(clients[2], "3"), StatusIs(StatusCode::kResourceExhausted, HasSubstr("full")));
  SendToken(group, first, 0, v1::UPDATE_END_STOP);
  EXPECT_OK(Accept(clients[2], "3"));
}

TEST_F(DispatcherTest, TheCoordinatorsOwnQueueIsBounded) {
  FakeGroup group;
  Attach("a", group, /*max_sequences=*/100);
  std::vector<FakeClient> clients(9);
  for (int i = 0; i < 8; ++i) ASSERT_OK(Accept(clients[i], std::to_string(i)));
  EXPECT_THAT(Accept(clients[8], "8"), StatusIs(StatusCode::kResourceExhausted, HasSubstr("8")));
}

TEST_F(DispatcherTest, WhatWouldWaitTooLongIsRefusedUntilTheQueueIsShorter) {
  FakeGroup group;
  Attach("a", group, /*max_sequences=*/1, /*max_waiting=*/7);
  std::vector<FakeClient> clients(3);
  const uint64_t first = *Accept(clients[0], "0");
  // 20 s a token, up to 8 tokens a request: the next one begins minutes from now.
  for (uint32_t index = 0; index < 3; ++index) {
    SendToken(group, first, index);
    for (int i = 0; i < 20; ++i) {
      now_ += seconds(1);
      dispatcher_.OnHeartbeat(group.incarnation, {});
    }
  }
  const absl::Status refused = Accept(clients[1], "1").status();
  EXPECT_EQ(ReasonOf(refused), RefusalReason::kLongWait);
  EXPECT_TRUE(RetryAfterOf(refused).has_value());
  SendToken(group, first, 3, v1::UPDATE_END_STOP);
  EXPECT_OK(Accept(clients[1], "1"));
}

TEST_F(DispatcherTest, ARunningIdIsRefused) {
  FakeGroup group;
  Attach("a", group);
  FakeClient client;
  ASSERT_OK(Accept(client, "same"));
  EXPECT_THAT(Accept(client, "same"),
              StatusIs(StatusCode::kAlreadyExists, HasSubstr("request_id")));
}

TEST_F(DispatcherTest, RequestsEndAtTheirDeadline) {
  FakeGroup group;
  Attach("a", group);
  FakeClient client;
  const uint64_t request = *Accept(client);
  for (int i = 0; i < 2'400; ++i) {
    now_ += milliseconds(250);
    v1::Heartbeat heartbeat;
    heartbeat.set_steps(static_cast<uint64_t>(i));
    heartbeat.set_running(1);
    dispatcher_.OnHeartbeat(group.incarnation, heartbeat);
    dispatcher_.Tick();
  }
  EXPECT_THAT(client.Read().error, StatusIs(StatusCode::kDeadlineExceeded, HasSubstr("600 s")));
  group.Submits();
  EXPECT_THAT(group.cancelled, ElementsAre(request));
}

TEST_F(DispatcherTest, StoppingRefusesEndsAndTellsGroupsToLeave) {
  FakeGroup group, late;
  Attach("a", group);
  FakeClient client, refused;
  ASSERT_OK(Accept(client));
  dispatcher_.Tick();
  dispatcher_.StopAccepting();
  dispatcher_.Tick();
  EXPECT_EQ(events_.back().kind, CoordinatorEvent::Kind::kNotServing);
  EXPECT_THAT(Accept(refused, "b"), StatusIs(StatusCode::kUnavailable, HasSubstr("stopping")));
  EXPECT_EQ(client.Read().ends, 0) << "running requests may finish";
  dispatcher_.EndAll("the end");
  EXPECT_THAT(client.Read().error, StatusIs(StatusCode::kUnavailable, HasSubstr("the end")));
  group.Submits();
  EXPECT_TRUE(group.told_to_leave);
}

TEST_F(DispatcherTest, RequestsAreSpreadOverGroups) {
  FakeGroup a, b;
  Attach("a", a);
  Attach("b", b);
  std::vector<FakeClient> clients(4);
  for (int i = 0; i < 4; ++i) ASSERT_OK(Accept(clients[i], std::to_string(i)));
  EXPECT_THAT(a.Submits(), SizeIs(2));
  EXPECT_THAT(b.Submits(), SizeIs(2));
}

}  // namespace
}  // namespace trireme
