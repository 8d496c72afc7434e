#include "launcher/coordinator/journal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "launcher/request/params_proto.h"
#include "launcher/request/submit.h"

namespace trireme {
namespace {

using testing::ElementsAre;
using Verdict = Journal::Verdict;

const TimePoint kNow = TimePoint(std::chrono::seconds(10));
constexpr std::chrono::milliseconds kLimit{5'000};

AcceptedRequest Accepted(const std::string& id) {
  AcceptedRequest accepted;
  accepted.id = id;
  Request& request = accepted.request;
  request.prompt = {5, 6};
  request.max_tokens = 10;
  request.min_tokens = 4;
  request.sampling = {.temperature = 0.5f,
                      .top_k = 3,
                      .top_p = 0.9f,
                      .min_p = 0.1f,
                      .seed = 42,
                      .repetition_penalty = 1.25f,
                      .frequency_penalty = 0.5f,
                      .presence_penalty = -0.5f};
  request.logit_bias = {{.token = 3, .bias = -1}, {.token = 8, .bias = 2}};
  request.stop_tokens = {9};
  request.stop_strings = {"END", "\n\n"};
  request.grammar = {.kind = GrammarSpec::Kind::kRegex, .text = "a+", .choices = {}};
  request.num_logprobs = 2;
  request.prompt_logprobs = true;
  request.priority = -3;
  request.tenant = "t";
  return accepted;
}

// A group's word on the token at `index`, of the completion or of the prompt.
v1::TokenUpdate At(uint64_t request, uint32_t index, bool of_prompt = false) {
  v1::TokenUpdate update;
  update.set_request(request);
  update.set_index(index);
  update.set_of_prompt(of_prompt);
  return update;
}

TEST(JournalTest, OnlyTheAssignedIncarnationMayAddAndOnlyTheNextIndex) {
  Journal journal;
  const uint64_t request = journal.Add(Accepted("a"), nullptr, kNow, kLimit);
  EXPECT_EQ(journal.Judge(1, At(request, 0)), Verdict::kStale);  // assigned to nobody
  journal.Find(request)->incarnation = 2;
  EXPECT_EQ(journal.Judge(1, At(request, 0)), Verdict::kStale);
  EXPECT_EQ(journal.Judge(3, At(request, 0)), Verdict::kStale);
  EXPECT_EQ(journal.Judge(2, At(request, 0)), Verdict::kDeliver);
  EXPECT_EQ(journal.Judge(2, At(request, 1)), Verdict::kGap);
  journal.Find(request)->sent = {100};
  EXPECT_EQ(journal.Judge(2, At(request, 0)), Verdict::kStale);
  EXPECT_EQ(journal.Judge(2, At(request, 1)), Verdict::kDeliver);
  EXPECT_EQ(journal.Judge(2, At(request, 3)), Verdict::kGap);
  EXPECT_EQ(journal.Judge(2, At(request + 1, 0)), Verdict::kStale);
}

TEST(JournalTest, NumbersAreNeverReused) {
  Journal journal;
  const uint64_t first = journal.Add(Accepted("a"), nullptr, kNow, kLimit);
  journal.Erase(first);
  EXPECT_GT(journal.Add(Accepted("a"), nullptr, kNow, kLimit), first);
  EXPECT_EQ(journal.Find(first), nullptr);
}

TEST(JournalTest, AReplayCarriesTheDeliveredTokensAndGoesOnDrawing) {
  Journal journal;
  JournalEntry& entry = *journal.Find(journal.Add(Accepted("a"), nullptr, kNow, kLimit));
  v1::Submit submit = ToSubmit(entry, kNow);
  EXPECT_THAT(submit.prompt(), ElementsAre(5, 6));
  EXPECT_EQ(submit.first_draw(), 0u);
  EXPECT_EQ(submit.max_tokens(), 10);
  EXPECT_TRUE(submit.prompt_logprobs());
  entry.sent = {7, 8, 7};
  submit = ToSubmit(entry, kNow);
  EXPECT_THAT(submit.prompt(), ElementsAre(5, 6, 7, 8, 7));
  EXPECT_EQ(submit.first_draw(), 3u);
  EXPECT_EQ(submit.max_tokens(), 7);
  EXPECT_EQ(submit.min_tokens(), 4) << "of the whole completion";
  EXPECT_FALSE(submit.prompt_logprobs()) << "they came before the first token";
  EXPECT_EQ(submit.num_logprobs(), 2);
}

TEST(JournalTest, ASubmitCarriesTheWholeRequest) {
  Journal journal;
  AcceptedRequest accepted = Accepted("a");
  accepted.choices = 3;
  const uint64_t call = journal.Add(accepted, nullptr, kNow, kLimit);
  const JournalEntry& third = *journal.Find(call + 2);
  const Request request = ToRequest(ToSubmit(third, kNow));
  const Request& expected = accepted.request;
  EXPECT_EQ(request.prompt, expected.prompt);
  EXPECT_EQ(request.min_tokens, expected.min_tokens);
  EXPECT_EQ(ToProto(request.sampling).DebugString(), ToProto(expected.sampling).DebugString());
  ASSERT_EQ(request.logit_bias.size(), 2u);
  EXPECT_EQ(request.logit_bias[0].token, 3);
  EXPECT_EQ(request.logit_bias[0].bias, -1);
  EXPECT_EQ(request.logit_bias[1].token, 8);
  EXPECT_EQ(request.stop_tokens, expected.stop_tokens);
  EXPECT_EQ(request.stop_strings, expected.stop_strings);
  EXPECT_EQ(request.grammar, expected.grammar);
  EXPECT_EQ(request.num_logprobs, 2);
  EXPECT_EQ(request.priority, -3);
  EXPECT_EQ(request.tenant, "t");
  EXPECT_EQ(request.sequence, 2u);
  EXPECT_FALSE(request.prompt_logprobs) << "the prompt is scored once, with the first";
}

TEST(JournalTest, EachChoiceIsAnEntryOfItsOwn) {
  Journal journal;
  AcceptedRequest accepted = Accepted("a");
  accepted.choices = 3;
  const uint64_t first = journal.Add(accepted, nullptr, kNow, kLimit);
  const uint64_t other = journal.Add(Accepted("b"), nullptr, kNow, kLimit);
  EXPECT_THAT(journal.OfCall(first), ElementsAre(first, first + 1, first + 2));
  EXPECT_THAT(journal.OfCall(other), ElementsAre(other));
  for (uint32_t i = 0; i < 3; ++i) EXPECT_EQ(journal.Find(first + i)->request.sequence, i);
  journal.Erase(first);
  EXPECT_THAT(journal.OfCall(first), ElementsAre(first + 1, first + 2));
  EXPECT_TRUE(journal.HasId("a", Accepted("a").request.tenant));
  EXPECT_FALSE(journal.HasId("a", "another"));
}

TEST(JournalTest, TheEarlierOfTheClientsDeadlineAndTheLimitCounts) {
  Journal journal;
  AcceptedRequest accepted = Accepted("a");
  const auto deadline = [&] {
    const JournalEntry& entry = *journal.Find(journal.Add(accepted, nullptr, kNow, kLimit));
    EXPECT_EQ(entry.clients_deadline, accepted.timeout.has_value() && *accepted.timeout < kLimit);
    return entry.deadline - kNow;
  };
  EXPECT_EQ(deadline(), kLimit);
  accepted.timeout = 2 * kLimit;
  EXPECT_EQ(deadline(), kLimit);
  accepted.timeout = kLimit / 2;
  EXPECT_EQ(deadline(), kLimit / 2);
  const JournalEntry& entry = *journal.Find(journal.Add(accepted, nullptr, kNow, kLimit));
  EXPECT_EQ(ToSubmit(entry, kNow + kLimit / 4).deadline_ms(), 1'250);
  EXPECT_EQ(ToSubmit(entry, kNow + kLimit).deadline_ms(), 1) << "ended at the next tick";
}

TEST(JournalTest, ScoresOfThePromptAreDeliveredOnce) {
  Journal journal;
  AcceptedRequest accepted = Accepted("a");
  accepted.request.prompt = {5, 6, 7};
  const uint64_t request = journal.Add(accepted, nullptr, kNow, kLimit);
  JournalEntry& entry = *journal.Find(request);
  entry.incarnation = 1;
  EXPECT_EQ(journal.Judge(1, At(request, 2, true)), Verdict::kGap);
  EXPECT_EQ(journal.Judge(1, At(request, 1, true)), Verdict::kDeliver);
  entry.prompt_scores = 1;
  // A second group begins again.
  EXPECT_EQ(journal.Judge(1, At(request, 1, true)), Verdict::kStale);
  EXPECT_EQ(journal.Judge(1, At(request, 2, true)), Verdict::kDeliver);
  EXPECT_EQ(journal.Judge(1, At(request, 3, true)), Verdict::kStale) << "of the completion";
}

TEST(JournalTest, ListsByWhoWorksOnThemInOrderOfAcceptance) {
  Journal journal;
  const uint64_t a = journal.Add(Accepted("a"), nullptr, kNow, kLimit);
  const uint64_t b = journal.Add(Accepted("b"), nullptr, kNow - kLimit, kLimit);
  const uint64_t c = journal.Add(Accepted("c"), nullptr, kNow, kLimit);
  journal.Find(a)->incarnation = 1;
  journal.Find(c)->incarnation = 1;
  journal.Find(c)->started = true;
  EXPECT_THAT(journal.AssignedTo(1), ElementsAre(a, c));
  EXPECT_THAT(journal.Unassigned(), ElementsAre(b));
  EXPECT_EQ(journal.Started(1), 1);
  EXPECT_THAT(journal.PastDeadline(kNow), ElementsAre(b));
  EXPECT_TRUE(journal.HasId("b", Accepted("b").request.tenant));
  EXPECT_FALSE(journal.HasId("d", Accepted("d").request.tenant));
}

}  // namespace
}  // namespace trireme
