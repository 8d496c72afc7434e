#include "launcher/coordinator/journal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace trireme {
namespace {

using testing::ElementsAre;
using Verdict = Journal::Verdict;

const TimePoint kLater = TimePoint(std::chrono::seconds(10));

AcceptedRequest Accepted(const std::string& id) {
  AcceptedRequest accepted;
  accepted.id = id;
  accepted.prompt = {5, 6};
  accepted.max_tokens = 10;
  accepted.sampling = {.temperature = 0.5f, .top_k = 3, .top_p = 0.9f, .min_p = 0.1f, .seed = 42};
  accepted.stop_tokens = {9};
  accepted.num_logprobs = 2;
  return accepted;
}

TEST(JournalTest, OnlyTheAssignedIncarnationMayAddAndOnlyTheNextIndex) {
  Journal journal;
  const uint64_t request = journal.Add(Accepted("a"), nullptr, kLater);
  EXPECT_EQ(journal.Judge(1, request, 0), Verdict::kStale);  // assigned to nobody
  journal.Find(request)->incarnation = 2;
  EXPECT_EQ(journal.Judge(1, request, 0), Verdict::kStale);
  EXPECT_EQ(journal.Judge(3, request, 0), Verdict::kStale);
  EXPECT_EQ(journal.Judge(2, request, 0), Verdict::kDeliver);
  EXPECT_EQ(journal.Judge(2, request, 1), Verdict::kGap);
  journal.Find(request)->sent = {100};
  EXPECT_EQ(journal.Judge(2, request, 0), Verdict::kStale);
  EXPECT_EQ(journal.Judge(2, request, 1), Verdict::kDeliver);
  EXPECT_EQ(journal.Judge(2, request, 3), Verdict::kGap);
  EXPECT_EQ(journal.Judge(2, request + 1, 0), Verdict::kStale);
}

TEST(JournalTest, NumbersAreNeverReused) {
  Journal journal;
  const uint64_t first = journal.Add(Accepted("a"), nullptr, kLater);
  journal.Erase(first);
  EXPECT_GT(journal.Add(Accepted("a"), nullptr, kLater), first);
  EXPECT_EQ(journal.Find(first), nullptr);
}

TEST(JournalTest, AReplayCarriesTheDeliveredTokensAndGoesOnDrawing) {
  Journal journal;
  JournalEntry& entry = *journal.Find(journal.Add(Accepted("a"), nullptr, kLater));
  v1::Submit submit = ToSubmit(entry);
  EXPECT_THAT(submit.prompt(), ElementsAre(5, 6));
  EXPECT_EQ(submit.first_draw(), 0u);
  EXPECT_EQ(submit.max_tokens(), 10);
  entry.sent = {7, 8, 7};
  submit = ToSubmit(entry);
  EXPECT_THAT(submit.prompt(), ElementsAre(5, 6, 7, 8, 7));
  EXPECT_EQ(submit.first_draw(), 3u);
  EXPECT_EQ(submit.max_tokens(), 7);
  EXPECT_EQ(submit.seed(), 42u);
  EXPECT_EQ(submit.temperature(), 0.5f);
  EXPECT_EQ(submit.top_k(), 3);
  EXPECT_EQ(submit.top_p(), 0.9f);
  EXPECT_EQ(submit.min_p(), 0.1f);
  EXPECT_THAT(submit.stop_tokens(), ElementsAre(9));
  EXPECT_EQ(submit.num_logprobs(), 2);
}

TEST(JournalTest, ListsByWhoWorksOnThemInOrderOfAcceptance) {
  Journal journal;
  const uint64_t a = journal.Add(Accepted("a"), nullptr, kLater);
  const uint64_t b = journal.Add(Accepted("b"), nullptr, TimePoint(std::chrono::seconds(1)));
  const uint64_t c = journal.Add(Accepted("c"), nullptr, kLater);
  journal.Find(a)->incarnation = 1;
  journal.Find(c)->incarnation = 1;
  journal.Find(c)->started = true;
  EXPECT_THAT(journal.AssignedTo(1), ElementsAre(a, c));
  EXPECT_THAT(journal.Unassigned(), ElementsAre(b));
  EXPECT_EQ(journal.Started(1), 1);
  EXPECT_THAT(journal.PastDeadline(TimePoint(std::chrono::seconds(2))), ElementsAre(b));
  EXPECT_TRUE(journal.HasId("b"));
  EXPECT_FALSE(journal.HasId("d"));
}

}  // namespace
}  // namespace trireme
