#include "launcher/load/slow_readers.h"

#include <gtest/gtest.h>

namespace trireme {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

TEST(SlowReadersTest, CutsOffOnceWhoeverLeavesAWriteWaitingForTooLong) {
  SlowReaders readers(std::chrono::seconds(30));
  int stuck_ends = 0;
  int quick_ends = 0;
  const auto stuck = readers.Watch([&] { ++stuck_ends; });
  const auto quick = readers.Watch([&] { ++quick_ends; });
  stuck->Begin(kSecond);
  quick->Begin(kSecond);
  EXPECT_EQ(readers.Check(30 * kSecond), 0);
  quick->End();
  quick->Begin(31 * kSecond);
  EXPECT_EQ(readers.Check(32 * kSecond), 1);
  quick->End();
  EXPECT_EQ(readers.Check(100 * kSecond), 0);
  EXPECT_EQ(stuck_ends, 1);
  EXPECT_EQ(quick_ends, 0);
}

TEST(SlowReadersTest, ForgetsAStreamThatIsGone) {
  SlowReaders readers(std::chrono::seconds(30));
  int ends = 0;
  readers.Watch([&] { ++ends; })->Begin(kSecond);
  EXPECT_EQ(readers.Check(100 * kSecond), 0);
  EXPECT_EQ(ends, 0);
}

}  // namespace
}  // namespace trireme
