// Whose requests they are, where clients have keys (auth).
#include "launcher/auth/principal.h"
#include "tests/launcher/coordinator/dispatcher_fixture.h"

namespace trireme {
namespace {

using absl::StatusCode;
using testing::_;
using testing::HasSubstr;

class CallersTest : public DispatcherTest {
 protected:
  Principal CallerOf(const std::string& tenant, QuotaLimits limits) {
    return {.key_id = "k",
            .tenant = tenant,
            .scopes = {},
            .quota = std::make_shared<KeyQuota>(limits, [this] { return now_; })};
  }
};

TEST_F(CallersTest, TheTenantIsTheKeys) {
  AcceptedRequest accepted = Accepted("a");
  accepted.request.tenant = "umbrella";
  ASSERT_OK(AdmitAs(CallerOf("acme", {}), accepted));
  EXPECT_EQ(accepted.request.tenant, "acme");
}

TEST_F(CallersTest, AnIdIsTakenWithinItsTenantAlone) {
  FakeGroup group;
  Attach("a", group);
  std::vector<FakeClient> clients(3);
  AcceptedRequest mine = Accepted("same"), theirs = Accepted("same");
  ASSERT_OK(AdmitAs(CallerOf("acme", {}), mine));
  ASSERT_OK(AdmitAs(CallerOf("umbrella", {}), theirs));
  ASSERT_OK(dispatcher_.Accept(mine, clients[0].stream));
  ASSERT_OK(dispatcher_.Accept(theirs, clients[1].stream));
  EXPECT_THAT(dispatcher_.Accept(mine, clients[2].stream), StatusIs(StatusCode::kAlreadyExists, _));
}

TEST_F(CallersTest, APlaceIsLeftWhenTheLastChoiceHasEnded) {
  FakeGroup group;
  Attach("a", group);
  FakeClient client;
  const Principal caller = CallerOf("acme", {.tokens_per_minute = 60, .max_concurrent = 2});
  uint64_t call = 0;
  {
    AcceptedRequest accepted = Accepted("a");
    accepted.choices = 2;
    ASSERT_OK(AdmitAs(caller, accepted));
    const auto number = dispatcher_.Accept(accepted, client.stream);
    ASSERT_OK(number);
    call = *number;
  }
  AcceptedRequest next = Accepted("b");
  SendToken(group, call, 0, v1::UPDATE_END_LENGTH);
  EXPECT_THAT(AdmitAs(caller, next), StatusIs(StatusCode::kResourceExhausted, HasSubstr("time")));
  SendToken(group, call + 1, 0, v1::UPDATE_END_LENGTH);
  EXPECT_OK(AdmitAs(caller, next));
}

TEST_F(CallersTest, EachTokenIsCountedOnce) {
  FakeGroup group;
  Attach("a", group);
  FakeClient client;
  const Principal caller = CallerOf("acme", {.tokens_per_minute = 4});
  AcceptedRequest accepted = Accepted("a");
  ASSERT_OK(AdmitAs(caller, accepted));  // 2 of the prompt
  const auto call = dispatcher_.Accept(accepted, client.stream);
  ASSERT_OK(call);
  SendToken(group, *call, 0);
  SendToken(group, *call, 0);  // said twice
  AcceptedRequest next = Accepted("b");
  next.request.prompt.clear();
  EXPECT_OK(AdmitAs(caller, next)) << "one is left";
  SendToken(group, *call, 1);
  EXPECT_THAT(AdmitAs(caller, next), StatusIs(StatusCode::kResourceExhausted, _));
}

TEST(CallersRequiredTest, WhoWasNotAskedForAKeyIsRefused) {
  Dispatcher dispatcher({.callers_required = true});
  AcceptedRequest accepted;
  EXPECT_THAT(dispatcher.Accept(accepted, nullptr), StatusIs(StatusCode::kUnauthenticated, _));
}

}  // namespace
}  // namespace trireme
