// Which groups are ready, and which one takes the next request.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "launcher/coordinator/group_registry.h"
#include "launcher/coordinator/router.h"
#include "launcher/load/refusal.h"
#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;
using testing::Optional;
using testing::SizeIs;

const TimePoint kStart{std::chrono::seconds(1'000)};
constexpr LivenessOptions kLiveness{.heartbeat_timeout = milliseconds(2'000),
                                    .stall_not_ready = milliseconds(5'000),
                                    .stall_lost = milliseconds(60'000)};

v1::Hello HelloOf(const std::string& name) {
  v1::Hello hello;
  hello.set_group(name);
  hello.set_model_identity("m1");
  hello.set_tokenizer_hash("t1");
  hello.set_vocabulary(100);
  hello.set_max_positions(64);
  hello.set_max_sequences(4);
  hello.set_max_waiting(2);
  hello.add_hosts("h");
  return hello;
}

v1::Heartbeat Beat(uint64_t steps, int64_t running) {
  v1::Heartbeat heartbeat;
  heartbeat.set_steps(steps);
  heartbeat.set_running(running);
  return heartbeat;
}

TEST(GroupRegistryTest, IncarnationsRiseAndAreNeverReused) {
  GroupRegistry registry(kLiveness, "");
  const uint64_t first = *registry.Attach(HelloOf("a"), nullptr, kStart);
  EXPECT_TRUE(registry.Detach(first));
  EXPECT_FALSE(registry.Detach(first));
  EXPECT_GT(*registry.Attach(HelloOf("a"), nullptr, kStart), first);
}

TEST(GroupRegistryTest, RefusesWhatDoesNotFit) {
  GroupRegistry registry(kLiveness, "t1");
  ASSERT_OK(registry.Attach(HelloOf("a"), nullptr, kStart));
  const auto attach = [&](auto change) {
    v1::Hello hello = HelloOf("b");
    change(hello);
    return registry.Attach(hello, nullptr, kStart);
  };
  using absl::StatusCode;
  EXPECT_THAT(attach([](v1::Hello& h) { h.set_group("a"); }),
              StatusIs(StatusCode::kAlreadyExists, HasSubstr("'a'")));
  EXPECT_THAT(attach([](v1::Hello& h) { h.set_model_identity("m2"); }),
              StatusIs(StatusCode::kFailedPrecondition, HasSubstr("model m1")));
  EXPECT_THAT(attach([](v1::Hello& h) { h.set_tokenizer_hash("t2"); }),
              StatusIs(StatusCode::kFailedPrecondition, HasSubstr("tokenizer")));
  EXPECT_THAT(attach([](v1::Hello& h) { h.set_max_positions(65); }),
              StatusIs(StatusCode::kFailedPrecondition, HasSubstr("65")));
  EXPECT_THAT(attach([](v1::Hello& h) { h.set_group(""); }),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("hello.group")));
  EXPECT_THAT(attach([](v1::Hello& h) { h.set_vocabulary(-1); }),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("vocabulary")));
  EXPECT_THAT(attach([](v1::Hello& h) { h.clear_hosts(); }),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("hosts")));
  EXPECT_OK(attach([](v1::Hello&) {}));
}

TEST(GroupRegistryTest, SilenceIsALostGroup) {
  GroupRegistry registry(kLiveness, "");
  const uint64_t group = *registry.Attach(HelloOf("a"), nullptr, kStart);
  EXPECT_TRUE(registry.AnyReady(kStart + milliseconds(2'000)));
  EXPECT_TRUE(registry.Overdue(kStart + milliseconds(2'000)).empty());
  EXPECT_FALSE(registry.AnyReady(kStart + milliseconds(2'001)));
  const auto overdue = registry.Overdue(kStart + milliseconds(2'001));
  ASSERT_THAT(overdue, SizeIs(1));
  EXPECT_EQ(overdue[0].first, group);
  EXPECT_THAT(std::string(overdue[0].second.message()), HasSubstr("no heartbeat for 2001 ms"));
  registry.Heartbeat(group, Beat(0, 0), kStart + milliseconds(2'001));
  EXPECT_TRUE(registry.AnyReady(kStart + milliseconds(3'000)));
}

// A living thread beside a stuck step.
TEST(GroupRegistryTest, HeartbeatsWithoutStepsAreAHang) {
  GroupRegistry registry(kLiveness, "");
  const uint64_t group = *registry.Attach(HelloOf("a"), nullptr, kStart);
  TimePoint now = kStart;
  const auto beat_until = [&](milliseconds end, uint64_t steps, int64_t running) {
    for (; now <= kStart + end; now += milliseconds(250)) {
      registry.Heartbeat(group, Beat(steps, running), now);
    }
  };
  beat_until(milliseconds(10'000), 3, 0);
  EXPECT_TRUE(registry.AnyReady(now)) << "idle is not a hang";
  beat_until(milliseconds(14'500), 3, 2);
  EXPECT_TRUE(registry.AnyReady(now));
  beat_until(milliseconds(16'000), 3, 2);
  EXPECT_FALSE(registry.AnyReady(now));
  EXPECT_TRUE(registry.Overdue(now).empty());
  registry.Heartbeat(group, Beat(4, 2), now);
  EXPECT_TRUE(registry.AnyReady(now));
  beat_until(milliseconds(80'000), 4, 2);
  ASSERT_THAT(registry.Overdue(now), SizeIs(1));
  EXPECT_THAT(std::string(registry.Overdue(now)[0].second.message()),
              HasSubstr("2 requests running"));
}

TEST(GroupRegistryTest, KeepsTheHottestExpertsOfTheLatestHeartbeatWithinBounds) {
  GroupRegistry registry(kLiveness, "");
  const uint64_t group = *registry.Attach(HelloOf("a"), nullptr, kStart);
  EXPECT_THAT(registry.Snapshots(kStart)[0].hottest_experts, SizeIs(0));
  v1::Heartbeat heartbeat = Beat(1, 0);
  for (int i = 0; i < 1'000; ++i) heartbeat.add_hottest_experts()->set_expert(i);
  registry.Heartbeat(group, heartbeat, kStart);
  const std::vector<v1::HotExpert> kept = registry.Snapshots(kStart)[0].hottest_experts;
  ASSERT_THAT(kept, SizeIs(64));
  EXPECT_EQ(kept[63].expert(), 63);
  registry.Heartbeat(group, Beat(2, 0), kStart);
  EXPECT_THAT(registry.Snapshots(kStart)[0].hottest_experts, SizeIs(0));
}

GroupSnapshot Snapshot(uint64_t incarnation, int64_t assigned, int64_t max_sequences) {
  GroupSnapshot snapshot;
  snapshot.incarnation = incarnation;
  snapshot.ready = true;
  snapshot.assigned = assigned;
  snapshot.max_sequences = max_sequences;
  snapshot.capacity = max_sequences + 2;
  return snapshot;
}

TEST(RouterTest, ChoosesTheLeastLoadedForItsSize) {
  EXPECT_THAT(ChooseGroup(std::vector{Snapshot(1, 3, 4), Snapshot(2, 1, 4)}), Optional(2u));
  EXPECT_THAT(ChooseGroup(std::vector{Snapshot(1, 3, 8), Snapshot(2, 2, 4)}), Optional(1u));
  EXPECT_THAT(ChooseGroup(std::vector{Snapshot(2, 1, 4), Snapshot(1, 2, 8)}), Optional(1u))
      << "equal: the oldest";
}

// A group of 4 slots, all taken, that makes 100 tokens a second; a request takes 50.
GroupSnapshot Saturated(int64_t assigned) {
  GroupSnapshot snapshot = Snapshot(1, assigned, 4);
  TimePoint now = kStart;
  snapshot.queue.OnEnd(50);
  for (int i = 0; i < 1'000; ++i) snapshot.queue.Advance(now += milliseconds(10), 1, true);
  return snapshot;
}

TEST(RouterTest, RefusesWhatWouldWaitTooLongForItsTurnAndSaysWhenToCome) {
  EXPECT_OK(CheckWait(Saturated(3), {}, milliseconds(1))) << "a slot is free";
  EXPECT_OK(CheckWait(Saturated(13), {.tenants_waiting = 9}, milliseconds(5'500)));
  const absl::Status refused =
      CheckWait(Saturated(23), {.tenants_waiting = 19}, milliseconds(5'000));
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("its turn")));
  EXPECT_EQ(ReasonOf(refused), RefusalReason::kLongWait);
  EXPECT_EQ(RetryAfterOf(refused), std::chrono::seconds(5)) << "10 s, less the 5 that may be";
}

TEST(RouterTest, RefusesWhatCouldNotBeginBeforeItsOwnDeadline) {
  Demand demand{.tenants_waiting = 9, .timeout = milliseconds(2'000)};
  const absl::Status refused = CheckWait(Saturated(13), demand, milliseconds(60'000));
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("own deadline")));
  EXPECT_EQ(ReasonOf(refused), RefusalReason::kDeadline);
  demand.timeout = milliseconds(8'000);
  EXPECT_OK(CheckWait(Saturated(13), demand, milliseconds(60'000)));
}

TEST(RouterTest, TheQueueOfOneTenantRefusesNoOther) {
  EXPECT_OK(CheckWait(Saturated(500), {.other_tenants = 1}, milliseconds(1'500)));
  EXPECT_FALSE(
      CheckWait(Saturated(500), {.tenants_waiting = 9, .other_tenants = 1}, milliseconds(1'500))
          .ok());
}

TEST(RouterTest, WhereThePaceIsNotKnownAllMayWait) {
  EXPECT_OK(CheckWait(Snapshot(1, 7, 4), {.tenants_waiting = 7}, milliseconds(1)));
  EXPECT_OK(CheckWait(Snapshot(1, 500, 4), {.tenants_waiting = 500}, milliseconds(1)));
}

TEST(RouterTest, WherePagesAreScarceFewerSlotsCount) {
  GroupSnapshot group = Saturated(4);
  group.max_sequences = 64;
  EXPECT_OK(CheckWait(group, {.tenants_waiting = 1}, milliseconds(100)));
  group.running = 2;
  group.waiting = 2;
  group.counters.set_pages(100);
  group.counters.set_free_pages(3);
  EXPECT_FALSE(CheckWait(group, {.tenants_waiting = 3}, milliseconds(100)).ok());
}

TEST(RouterTest, NeverChoosesAGroupThatIsFullOrNotReady) {
  std::vector groups = {Snapshot(1, 0, 4), Snapshot(2, 6, 4), Snapshot(3, 5, 4)};
  groups[0].ready = false;
  EXPECT_THAT(ChooseGroup(groups), Optional(3u));
  groups[2].assigned = 6;
  EXPECT_EQ(ChooseGroup(groups), std::nullopt);
  EXPECT_EQ(ChooseGroup({}), std::nullopt);
}

}  // namespace
}  // namespace trireme
