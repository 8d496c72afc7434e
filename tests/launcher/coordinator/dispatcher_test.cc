// The dispatcher over simulated time, with the test in the place of clients and groups.
#include "launcher/coordinator/dispatcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

using absl::StatusCode;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

// A group's end of a link.
struct FakeGroup {
  std::shared_ptr<LinkMailbox> link = std::make_shared<LinkMailbox>(1 << 20, [] {});
  uint64_t incarnation = 0;

  // Messages since the last call; the stream's end as `closed`.
  std::vector<v1::CoordinatorMessage> Read() {
    std::vector<v1::CoordinatorMessage> messages;
    while (auto item = link->Take()) {
      if (item->close) {
        closed = item->status;
      } else {
        messages.push_back(item->message);
      }
    }
    return messages;
  }
  std::vector<v1::Submit> Submits() {
    std::vector<v1::Submit> submits;
    for (const auto& message : Read()) {
      if (message.has_submit()) submits.push_back(message.submit());
      if (message.has_cancel()) cancelled.push_back(message.cancel().request());
      if (message.has_shutdown()) told_to_leave = true;
    }
    return submits;
  }

  std::optional<absl::Status> closed;
  std::vector<uint64_t> cancelled;
  bool told_to_leave = false;
};

struct FakeClient {
  std::shared_ptr<StreamMailbox> stream = std::make_shared<StreamMailbox>(1 << 16, [] {});
  std::vector<int32_t> tokens;
  std::vector<uint32_t> indices;
  FinishReason finish = FinishReason::kNone;
  int ends = 0;
  absl::Status error;

  FakeClient& Read() {
    while (auto event = stream->Take()) {
      if (event->token) tokens.push_back(event->token->token);
      if (event->token) indices.push_back(event->index);
      if (event->finish == FinishReason::kNone) continue;
      ++ends;
      finish = event->finish;
      error = event->error;
    }
    return *this;
  }
};

class DispatcherTest : public testing::Test {
 protected:
  DispatcherTest()
      : dispatcher_(
            {.liveness = {},
             .model_name = "m",
             .tokenizer_hash = "t1",
             .vocabulary = 100,
             .max_requests = 8,
             .request_timeout = seconds(600),
             .replay_timeout = seconds(30),
             .max_losses = 2,
             .now = [this] { return now_; },
             .observer = [this](const CoordinatorEvent& event) { events_.push_back(event); }}) {}

  void Attach(const std::string& name, FakeGroup& group, int64_t max_sequences = 4) {
    v1::Hello hello;
    hello.set_group(name);
    hello.set_model_identity("m1");
    hello.set_vocabulary(100);
    hello.set_max_positions(64);
    hello.set_max_sequences(max_sequences);
    hello.add_hosts("h");
    const auto incarnation = dispatcher_.Attach(hello, group.link);
    ASSERT_OK(incarnation);
    group.incarnation = *incarnation;
  }

  absl::StatusOr<uint64_t> Accept(FakeClient& client, const std::string& id = "a") {
    AcceptedRequest accepted;
    accepted.id = id;
    accepted.prompt = {1, 2};
    accepted.max_tokens = 8;
    return dispatcher_.Accept(accepted, client.stream);
  }

  void SendToken(const FakeGroup& group, uint64_t request, uint32_t index,
                 v1::UpdateEnd end = v1::UPDATE_END_NONE) {
    v1::TokenBatch batch;
    batch.set_incarnation(group.incarnation);
    v1::TokenUpdate* update = batch.add_updates();
    update->set_request(request);
    update->set_index(index);
    update->set_token(static_cast<int32_t>(10 + index));
    update->set_end(end);
    dispatcher_.OnTokens(group.incarnation, batch);
  }
  void SendError(const FakeGroup& group, uint64_t request, StatusCode code) {
    v1::TokenBatch batch;
    batch.set_incarnation(group.incarnation);
    v1::TokenUpdate* update = batch.add_updates();
    update->set_request(request);
    update->set_end(v1::UPDATE_END_ERROR);
    update->set_error_code(static_cast<int>(code));
    update->set_error_message("because");
    dispatcher_.OnTokens(group.incarnation, batch);
  }

  TimePoint now_{seconds(1'000)};
  std::vector<CoordinatorEvent> events_;
  Dispatcher dispatcher_;
};

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
