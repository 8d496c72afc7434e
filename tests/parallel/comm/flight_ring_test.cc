#include "parallel/comm/flight_ring.h"

#include <gmock/gmock.h>

#include <thread>

namespace trireme {
namespace {

using testing::HasSubstr;
using testing::Not;

std::string Host(int rank) { return "host" + std::to_string(rank); }

TEST(FlightRing, IsEmptyAtFirst) {
  const FlightRing ring;
  EXPECT_EQ(ring.Latest().sequence, 0U);
  EXPECT_TRUE(ring.Snapshot(10).empty());
  EXPECT_EQ(ring.progress(), 0U);
}

TEST(FlightRing, KeepsTheNewestRecordsInOrder) {
  FlightRing ring;
  for (uint64_t step = 1; step <= FlightRing::kRecords + 10; ++step) {
    ring.Begin(Verb::kBarrier, "b", step, 0);
    ring.End(true);
  }
  const auto records = ring.Snapshot(FlightRing::kRecords * 2);
  ASSERT_EQ(records.size(), FlightRing::kRecords);
  EXPECT_EQ(records.front().step, FlightRing::kRecords + 10);
  EXPECT_EQ(records.back().step, 11U);
}

TEST(FlightRing, ProgressRisesAtBothEndsOfAnOperation) {
  FlightRing ring;
  ring.Begin(Verb::kSend, "s", 1, 4);
  const uint64_t during = ring.progress();
  ring.End(true);
  EXPECT_GT(during, 0U);
  EXPECT_GT(ring.progress(), during);
}

TEST(FlightRing, CutsLongNames) {
  FlightRing ring;
  const std::string name(FlightRing::kWhatBytes + 5, 'n');
  ring.Begin(Verb::kSend, name, 1, 4);
  EXPECT_EQ(ring.Latest().what, name.substr(0, FlightRing::kWhatBytes));
}

TEST(FlightRing, DumpNamesRankHostOperationAndStep) {
  FlightRing ring;
  ring.Begin(Verb::kAllGather, "logits", 8, 1024);
  ring.End(true);
  ring.Begin(Verb::kTreeSum, "layer 3 attention", 9, 4096);
  ring.WaitFor(2);
  const std::string dump = ring.Dump(1, Host);
  EXPECT_THAT(dump, HasSubstr("rank 1 on host host1"));
  EXPECT_THAT(dump, HasSubstr("#2 step 9 tree sum \"layer 3 attention\" 4096 bytes waits for "
                              "rank 2 on host host2"));
  EXPECT_THAT(dump, HasSubstr("#1 step 8 all-gather \"logits\" 1024 bytes finished"));
  ring.End(false);
  EXPECT_THAT(ring.Dump(1, Host), HasSubstr("failed after"));
  EXPECT_THAT(ring.Dump(1, Host, 1), Not(HasSubstr("logits")));
}

// Every record a reader gets is one that was written whole: step, bytes and name belong together.
TEST(FlightRing, ReaderNeverSeesAMixtureOfTwoRecords) {
  FlightRing ring;
  std::jthread writer([&ring](const std::stop_token& stop) {
    for (uint64_t step = 1; !stop.stop_requested(); ++step) {
      ring.Begin(Verb::kSend, std::to_string(step), step, step * 3);
      ring.End(true);
    }
  });
  size_t seen = 0;
  while (seen < 20'000) {
    for (const FlightRing::Record& record : ring.Snapshot(64)) {
      ASSERT_EQ(record.what, std::to_string(record.step));
      ASSERT_EQ(record.bytes, record.step * 3);
      ASSERT_EQ(record.sequence, record.step);
      ++seen;
    }
  }
}

}  // namespace
}  // namespace trireme
