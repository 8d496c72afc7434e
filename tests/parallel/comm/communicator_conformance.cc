#include "tests/parallel/comm/communicator_conformance.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <numeric>
#include <random>
#include <thread>

#include "runtime/tensor/sum_tree.h"
#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr int64_t kPatienceMs = 30'000;
Deadline Patience() { return Deadline::AfterMs(kPatienceMs); }

std::vector<std::byte> Pattern(size_t bytes, int seed) {
  std::vector<std::byte> pattern(bytes);
  for (size_t i = 0; i < bytes; ++i) {
    pattern[i] =
        static_cast<std::byte>((i * 131 + static_cast<size_t>(seed) * 29 + (i >> 8)) & 255);
  }
  return pattern;
}

std::string NameOf(int rank) { return "rank " + std::to_string(rank); }

// Values of very different size, so that another order of additions gives other bits.
std::vector<float> LeafValues(int leaf, size_t count) {
  std::mt19937 random(static_cast<unsigned>(leaf) * 7919 + 17);
  std::vector<float> values(count);
  for (float& value : values) {
    const float mantissa = static_cast<float>(random() % 2'000'001) / 1e6F - 1.0F;
    value = std::ldexp(mantissa, static_cast<int>(random() % 24) - 12);
  }
  return values;
}

// The sum of a rank's leaves by its schedule; each is one column wide, the first is column `first`.
std::vector<float> SumOf(const LeafSchedule& schedule, int64_t first, size_t count) {
  std::vector<std::vector<float>> sums;
  for (const Range& leaf : schedule.leaves) {
    TRI_CHECK_EQ(leaf.size(), 1);
    sums.push_back(LeafValues(static_cast<int>(first + leaf.begin), count));
  }
  for (const SumStep& step : schedule.steps) {
    auto& into = sums[static_cast<size_t>(step.into)];
    const auto& from = sums[static_cast<size_t>(step.from)];
    for (size_t i = 0; i < count; ++i) into[i] += from[i];
  }
  return sums.front();
}

std::vector<float> SumOfColumns(int rank, int ranks, size_t count) {
  const WidthSplit split = SplitWidth(16, 16, rank, ranks);
  return SumOf(split.schedule, split.columns.begin, count);
}

// 9 query heads over 3 KV heads: an uneven tree.
std::vector<float> SumOfHeads(int rank, int ranks, size_t count) {
  const HeadSplit split = SplitHeads(9, 3, 1, rank, ranks);
  return SumOf(split.schedule, split.query_heads.begin, count);
}

void TreeSumEqualsTheTreeOfOneRank(Communicator& communicator) {
  for (const auto sum : {SumOfColumns, SumOfHeads}) {
    if (sum == SumOfHeads && communicator.size() > 4) continue;  // ranks without a head
    for (const size_t count : {size_t{1}, size_t{3}, size_t{1000}, size_t{200'001}}) {
      const std::vector<float> whole = sum(0, 1, count);
      std::vector<float> mine = sum(communicator.rank(), communicator.size(), count);
      communicator.TreeSum(ViewOf(std::span(mine), Shape{1, static_cast<int64_t>(count)}), "tree");
      ASSERT_OK(communicator.status());
      ASSERT_EQ(std::memcmp(mine.data(), whole.data(), count * sizeof(float)), 0) << count;
    }
  }
}

void TreeSumOfNothingReturns(Communicator& communicator) {
  std::vector<float> nothing;
  communicator.TreeSum(ViewOf(std::span(nothing), Shape{0, 4}), "no rows");
  EXPECT_OK(communicator.status());
}

// Element (row, column) of the gathered matrix.
float Cell(int64_t row, int64_t column) { return static_cast<float>(row * 1000 + column); }

void AllGatherPutsSlicesInRankOrder(Communicator& communicator) {
  const auto rank = static_cast<size_t>(communicator.rank());
  const auto ranks = static_cast<size_t>(communicator.size());
  for (const int64_t base : {int64_t{0}, int64_t{5}, int64_t{3000}, int64_t{100'000}}) {
    std::vector<int64_t> widths(ranks);
    for (size_t r = 0; r < ranks; ++r) widths[r] = base + static_cast<int64_t>(r % 3);
    const int64_t total = std::accumulate(widths.begin(), widths.end(), int64_t{0});
    const int64_t offset =
        std::accumulate(widths.begin(), widths.begin() + communicator.rank(), int64_t{0});
    for (const int64_t rows : {int64_t{1}, int64_t{7}}) {
      std::vector<float> mine;
      for (int64_t row = 0; row < rows; ++row) {
        for (int64_t c = 0; c < widths[rank]; ++c) mine.push_back(Cell(row, offset + c));
      }
      std::vector<float> all(static_cast<size_t>(rows * total), -1.0F);
      communicator.AllGather(ViewOf(std::span<const float>(mine), Shape{rows, widths[rank]}),
                             widths, ViewOf(std::span(all), Shape{rows, total}), "logits");
      ASSERT_OK(communicator.status());
      for (int64_t i = 0; i < rows * total; ++i) {
        ASSERT_EQ(all[static_cast<size_t>(i)], Cell(i / total, i % total))
            << "widths from " << base << ", rows " << rows << ", element " << i;
      }
    }
  }
}

void BroadcastReachesEveryRankFromEachRoot(Communicator& communicator) {
  for (int root = 0; root < communicator.size(); ++root) {
    for (const size_t bytes : {size_t{0}, size_t{1}, size_t{100'000}}) {
      const std::vector<std::byte> sent = Pattern(bytes, root);
      std::vector<std::byte> data(bytes);
      if (communicator.rank() == root) data = sent;
      ASSERT_OK(communicator.Broadcast(root, data, Patience(), "plan"));
      ASSERT_EQ(data, sent);
    }
  }
}

// Nobody leaves before the last has come; ranks of these tests share a machine and so its monotonic
// clock.
void BarrierHoldsUntilAllHaveCome(Communicator& communicator) {
  using Seconds = std::chrono::duration<double>;
  const int last = communicator.size() - 1;
  if (communicator.rank() == last) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  double entered = Seconds(Deadline::Clock::now().time_since_epoch()).count();
  ASSERT_OK(communicator.Barrier(Patience(), "together"));
  const double left = Seconds(Deadline::Clock::now().time_since_epoch()).count();
  ASSERT_OK(communicator.Broadcast(last, std::as_writable_bytes(std::span(&entered, 1)), Patience(),
                                   "the last one's time"));
  EXPECT_LE(entered, left);
}

void SendsGoAroundTheRing(Communicator& communicator) {
  const int rank = communicator.rank();
  const int ranks = communicator.size();
  for (const size_t bytes : {size_t{0}, size_t{1}, size_t{4097}, size_t{1'000'003}}) {
    std::vector<std::byte> data(bytes);
    const int from = (rank + ranks - 1) % ranks;
    const int to = (rank + 1) % ranks;
    if (rank == 0) {
      ASSERT_OK(communicator.Send(to, Pattern(bytes, 0), Patience(), "around"));
    }
    ASSERT_OK(communicator.Recv(from, data, Patience(), "around"));
    if (rank != 0) {
      ASSERT_OK(communicator.Send(to, Pattern(bytes, rank), Patience(), "around"));
    }
    EXPECT_EQ(data, Pattern(bytes, from));
  }
}

void MessagesBringTheirSize(Communicator& communicator) {
  for (const size_t bytes : {size_t{0}, size_t{17}, size_t{300'000}}) {
    if (communicator.rank() == 0) {
      for (int to = 1; to < communicator.size(); ++to) {
        ASSERT_OK(communicator.SendMessage(to, Pattern(bytes, to), Patience(), "message"));
      }
    } else {
      const auto message = communicator.RecvMessage(0, bytes, Patience(), "message");
      ASSERT_OK(message);
      EXPECT_TRUE(std::ranges::equal(*message, Pattern(bytes, communicator.rank())));
    }
  }
}

// Sizes that a transport keeps for the receiver, and one that it does not.
constexpr size_t kPostedBytes[] = {16, 3000, 300'000};

// Sends return though nobody receives yet, and arrive in the order in which they were posted, apart
// from messages to the same rank.
void PostedSendsNeedNoReceiver(Communicator& communicator) {
  const int last = communicator.size() - 1;
  if (communicator.rank() == 0) {
    std::vector<std::vector<std::byte>> sent;
    std::vector<Posted> posted;
    for (const size_t bytes : kPostedBytes) {
      sent.push_back(Pattern(bytes, static_cast<int>(sent.size())));
      const auto send = communicator.PostSend(last, sent.back());
      const auto message = communicator.PostMessage(last, sent.back());
      ASSERT_OK(send);
      ASSERT_OK(message);
      posted.insert(posted.end(), {*send, *message});
    }
    ASSERT_OK(communicator.Barrier(Patience(), "all is posted"));
    for (Posted& item : posted) EXPECT_OK(communicator.Finish(item, Patience(), "posted"));
    for (Posted& item : posted) {
      EXPECT_OK(communicator.Finish(item, Deadline::AfterMs(0), "finished before"));
      EXPECT_THAT(communicator.Poll(item), IsOk());
    }
  } else {
    ASSERT_OK(communicator.Barrier(Patience(), "all is posted"));
    if (communicator.rank() != last) return;
    int index = 0;
    for (const size_t bytes : kPostedBytes) {
      std::vector<std::byte> rows(bytes);
      ASSERT_OK(communicator.Recv(0, rows, Patience(), "rows"));
      EXPECT_EQ(rows, Pattern(bytes, index++));
    }
    index = 0;
    for (const size_t bytes : kPostedBytes) {
      const auto message = communicator.RecvMessage(0, bytes, Patience(), "message");
      ASSERT_OK(message);
      EXPECT_TRUE(std::ranges::equal(*message, Pattern(bytes, index++)));
    }
  }
}

// A receive that was posted ends while its rank is busy with collectives of its own: those of one
// rank, which wait for nobody.
void PostedReceivesEndMeanwhile(Communicator& communicator) {
  const auto alone = communicator.Split(communicator.rank(), 0, Patience());
  ASSERT_OK(alone);
  const int last = communicator.size() - 1;
  std::vector<float> values(8, 1.0F);
  for (const size_t bytes : kPostedBytes) {
    if (communicator.rank() == 0) {
      const std::vector<std::byte> rows = Pattern(bytes, 5);
      auto sent = communicator.PostSend(last, rows);
      ASSERT_OK(sent);
      ASSERT_OK(communicator.Finish(*sent, Patience(), "rows"));
    } else if (communicator.rank() == last) {
      std::vector<std::byte> rows(bytes);
      auto received = communicator.PostRecv(0, rows);
      ASSERT_OK(received);
      const Deadline deadline = Patience();
      absl::StatusOr<bool> done = false;
      while (done.ok() && !*done && !deadline.Passed()) {
        (*alone)->TreeSum(ViewOf(std::span(values), Shape{1, 8}), "busy");
        done = communicator.Poll(*received);
      }
      ASSERT_OK(done);
      EXPECT_EQ(rows, Pattern(bytes, 5));
    }
  }
}

void ALatePostedTransferIsNamed(Communicator& communicator) {
  const int missing = communicator.size() - 1;
  const auto fresh = communicator.Split(0, communicator.rank(), Patience());
  ASSERT_OK(fresh);
  if (communicator.rank() == 0) {
    std::vector<std::byte> rows(16);
    (*fresh)->SetStep(3, Patience());
    auto posted = (*fresh)->PostRecv(missing, rows);
    ASSERT_OK(posted);
    (*fresh)->SetStep(4, Patience());
    const absl::Status late = (*fresh)->Finish(*posted, Deadline::AfterMs(60), "hidden rows");
    EXPECT_THAT(late, StatusIs(absl::StatusCode::kDeadlineExceeded,
                               AllOf(HasSubstr(NameOf(missing)), HasSubstr("hidden rows"),
                                     HasSubstr("of step 3"))));
    EXPECT_EQ((*fresh)->PostRecv(missing, rows).status(), late);
    EXPECT_EQ((*fresh)->PostMessage(missing, rows).status(), late);
  }
  ASSERT_OK(communicator.Barrier(Patience(), "end"));
}

void ProbeSeesOnlyAWaitingMessage(Communicator& communicator) {
  const int last = communicator.size() - 1;
  if (communicator.rank() == 0) {
    EXPECT_FALSE(communicator.Probe(last));
    ASSERT_OK(communicator.Barrier(Patience(), "probed"));
    const Deadline deadline = Patience();
    while (!communicator.Probe(last) && !deadline.Passed()) std::this_thread::yield();
    EXPECT_TRUE(communicator.Probe(last));
    EXPECT_TRUE(communicator.Probe(last)) << "probing must not consume";
    ASSERT_OK(communicator.RecvMessage(last, 8, Patience(), "message"));
    EXPECT_FALSE(communicator.Probe(last));
  } else {
    ASSERT_OK(communicator.Barrier(Patience(), "probed"));
    if (communicator.rank() == last) {
      ASSERT_OK(communicator.SendMessage(0, Pattern(8, 1), Patience(), "message"));
    }
  }
  ASSERT_OK(communicator.Barrier(Patience(), "end"));
}

void OversizedMessageIsRefusedBeforeItIsRead(Communicator& communicator) {
  const int last = communicator.size() - 1;
  if (communicator.rank() == last) {
    // Whether the sender hears of it depends on the transport; it must only not hang.
    communicator.SendMessage(0, Pattern(1001, 1), Deadline::AfterMs(300), "too long").IgnoreError();
  } else if (communicator.rank() == 0) {
    const auto refused = communicator.RecvMessage(last, 1000, Patience(), "votes");
    EXPECT_THAT(refused, StatusIs(absl::StatusCode::kResourceExhausted,
                                  AllOf(HasSubstr(NameOf(last)), HasSubstr("votes"),
                                        HasSubstr("1001"), HasSubstr("1000"))));
    EXPECT_EQ(communicator.status(), refused.status());
  }
}

void MissingRankIsNamedAndTheFailureStays(Communicator& communicator) {
  const int missing = communicator.size() - 1;
  const int first = missing - 1;  // waits for it in the first round
  if (communicator.rank() == missing) return;
  communicator.SetStep(41, Deadline::AfterMs(100));
  std::vector<float> values(64, 1.0F);
  communicator.TreeSum(ViewOf(std::span(values), Shape{1, 64}), "layer 3 attention");
  const absl::Status status = communicator.status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  if (communicator.rank() == first) {
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kDeadlineExceeded,
                                 AllOf(HasSubstr(NameOf(missing)), HasSubstr("layer 3 attention"),
                                       HasSubstr("tree sum"), HasSubstr("step 41"),
                                       HasSubstr("host " + communicator.HostOf(missing)))));
  }
  // From here on nothing waits any more, however distant its deadline.
  communicator.SetStep(42, Deadline::Never());
  communicator.TreeSum(ViewOf(std::span(values), Shape{1, 64}), "layer 4 attention");
  EXPECT_EQ(communicator.Barrier(Deadline::Never(), "afterwards"), status);
  EXPECT_EQ(communicator.Recv(missing, {}, Deadline::Never(), "afterwards"), status);
  EXPECT_EQ(communicator.RecvMessage(missing, 1, Deadline::Never(), "afterwards").status(), status);
  EXPECT_FALSE(communicator.Probe(missing));
  EXPECT_EQ(communicator.status(), status);
}

void MissingRankIsNamedByEveryVerb(Communicator& communicator) {
  const int missing = communicator.size() - 1;
  std::vector<std::byte> buffer(16);
  for (int verb = 0; verb < 3; ++verb) {
    const auto fresh = communicator.Split(0, communicator.rank(), Patience());
    ASSERT_OK(fresh);
    if (communicator.rank() == 0) {
      const Deadline soon = Deadline::AfterMs(60);
      absl::Status status;
      if (verb == 0) status = (*fresh)->Recv(missing, buffer, soon, "late one");
      if (verb == 1) status = (*fresh)->RecvMessage(missing, 16, soon, "late one").status();
      if (verb == 2) status = (*fresh)->Broadcast(missing, buffer, soon, "late one");
      EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded) << status;
      EXPECT_THAT(std::string(status.message()), HasSubstr("late one"));
      if (verb < 2) {
        EXPECT_THAT(std::string(status.message()), HasSubstr(NameOf(missing)));
      }
    }
    ASSERT_OK(communicator.Barrier(Patience(), "next verb"));
  }
}

void SizesThatDisagreeAreAnError(Communicator& communicator) {
  const int last = communicator.size() - 1;
  if (communicator.rank() == last) {
    communicator.Send(0, Pattern(8, 1), Deadline::AfterMs(300), "short").IgnoreError();
  } else if (communicator.rank() == 0) {
    std::vector<std::byte> buffer(16);
    EXPECT_THAT(communicator.Recv(last, buffer, Patience(), "hidden rows"),
                StatusIs(absl::StatusCode::kInternal,
                         AllOf(HasSubstr("expected 16"), HasSubstr(NameOf(last)),
                               HasSubstr("hidden rows"))));
  }
}

void SplitOrdersByKeyAndKeepsTrafficApart(Communicator& communicator) {
  const int rank = communicator.rank();
  const int ranks = communicator.size();
  const auto parity = communicator.Split(rank % 2, -rank, Patience());
  ASSERT_OK(parity);
  Communicator& part = **parity;
  const int members = (ranks + 1 - rank % 2) / 2;
  EXPECT_EQ(part.size(), members);
  EXPECT_EQ(part.rank(), members - 1 - rank / 2);
  EXPECT_EQ(part.HostOf(part.rank()), communicator.HostOf(rank));

  // The first of each part tells the others its world rank, while the world's own broadcast is
  // under way.
  int32_t world_root = rank;
  int32_t part_root = rank;
  ASSERT_OK(
      part.Broadcast(0, std::as_writable_bytes(std::span(&part_root, 1)), Patience(), "part"));
  ASSERT_OK(communicator.Broadcast(0, std::as_writable_bytes(std::span(&world_root, 1)), Patience(),
                                   "world"));
  EXPECT_EQ(world_root, 0);
  EXPECT_EQ(part_root, (ranks - 1) % 2 == rank % 2 ? ranks - 1 : ranks - 2);

  // Communicators split at different depths still differ in context.
  const auto alone = part.Split(part.rank(), 0, Patience());
  ASSERT_OK(alone);
  EXPECT_EQ((*alone)->size(), 1);
  const auto again = communicator.Split(0, rank, Patience());
  ASSERT_OK(again);
  ASSERT_OK((*again)->Barrier(Patience(), "again"));
  ASSERT_OK(part.Barrier(Patience(), "part"));
}

// A failure in a part leaves the whole usable: it is how a group reports what a check found.
void FailureOfAPartLeavesTheWhole(Communicator& communicator) {
  const auto part = communicator.Split(0, communicator.rank(), Patience());
  ASSERT_OK(part);
  if (communicator.rank() == 0) {
    std::vector<std::byte> buffer(4);
    EXPECT_FALSE((*part)->Recv(1, buffer, Deadline::AfterMs(50), "nothing comes").ok());
  }
  EXPECT_OK(communicator.Barrier(Patience(), "still here"));
}

constexpr ConformanceCase kCases[] = {
    {"TreeSumEqualsTheTreeOfOneRank", TreeSumEqualsTheTreeOfOneRank, 1, true},
    {"TreeSumOfNothingReturns", TreeSumOfNothingReturns, 1, true},
    {"AllGatherPutsSlicesInRankOrder", AllGatherPutsSlicesInRankOrder},
    {"BroadcastReachesEveryRankFromEachRoot", BroadcastReachesEveryRankFromEachRoot},
    {"BarrierHoldsUntilAllHaveCome", BarrierHoldsUntilAllHaveCome},
    {"SendsGoAroundTheRing", SendsGoAroundTheRing, 2},
    {"MessagesBringTheirSize", MessagesBringTheirSize},
    {"PostedSendsNeedNoReceiver", PostedSendsNeedNoReceiver, 2},
    {"PostedReceivesEndMeanwhile", PostedReceivesEndMeanwhile, 2},
    {"ALatePostedTransferIsNamed", ALatePostedTransferIsNamed, 2},
    {"ProbeSeesOnlyAWaitingMessage", ProbeSeesOnlyAWaitingMessage, 2},
    {"OversizedMessageIsRefusedBeforeItIsRead", OversizedMessageIsRefusedBeforeItIsRead, 2},
    {"MissingRankIsNamedAndTheFailureStays", MissingRankIsNamedAndTheFailureStays, 2, true},
    {"MissingRankIsNamedByEveryVerb", MissingRankIsNamedByEveryVerb, 2},
    {"SizesThatDisagreeAreAnError", SizesThatDisagreeAreAnError, 2},
    {"SplitOrdersByKeyAndKeepsTrafficApart", SplitOrdersByKeyAndKeepsTrafficApart},
    {"FailureOfAPartLeavesTheWhole", FailureOfAPartLeavesTheWhole, 2},
};

}  // namespace

std::span<const ConformanceCase> ConformanceCases() { return kCases; }

bool Fits(const ConformanceCase& test, int ranks) {
  return ranks >= test.least_ranks &&
         (!test.power_of_two || std::has_single_bit(static_cast<unsigned>(ranks)));
}

}  // namespace trireme
