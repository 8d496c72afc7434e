#include "runtime/engine/sequence/sequence.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "tests/support/byte_tokenizer.h"

namespace trireme {
namespace {

std::vector<int32_t> Bytes(std::string_view text) { return {text.begin(), text.end()}; }

Request Completing(std::string_view prompt) {
  Request request;
  request.prompt = Bytes(prompt);
  request.max_tokens = 100;
  return request;
}

// The text up to the token that ends the sequence; all of it when none does.
std::string Until(Sequence& sequence, std::string_view text, FinishReason end) {
  for (size_t i = 0; i < text.size(); ++i) {
    const FinishReason finish = sequence.TakeToken(text[i]);
    if (finish == FinishReason::kNone) continue;
    EXPECT_EQ(finish, end);
    return std::string(text.substr(0, i + 1));
  }
  return std::string(text);
}

TEST(Sequence, EndsWithTheTokenThatCompletesAStopString) {
  const ByteTokenizer tokenizer;
  Request request = Completing("END");  // a prompt's text does not count
  request.stop_strings = {"END", "\n\n"};
  Sequence sequence(request, &tokenizer, nullptr);
  EXPECT_EQ(Until(sequence, "one\ntwo ENEND three", FinishReason::kStop), "one\ntwo ENEND");
}

TEST(Sequence, AReplayedSequenceStopsAtTheSameToken) {
  const ByteTokenizer tokenizer;
  Request request = Completing("prompt, one EN");
  request.stop_strings = {"END"};
  request.first_draw = 6;
  Sequence sequence(request, &tokenizer, nullptr);
  EXPECT_EQ(sequence.made(), 6);
  EXPECT_EQ(Until(sequence, "D more", FinishReason::kStop), "D");
  request.first_draw = 0;
  Sequence fresh(request, &tokenizer, nullptr);
  EXPECT_EQ(Until(fresh, "D more", FinishReason::kStop), "D more");
}

TEST(Sequence, TheFirstMinTokensNeverStopIt) {
  const ByteTokenizer tokenizer;
  Request request = Completing("p");
  request.stop_strings = {"ab"};
  request.stop_tokens = {'x'};
  request.min_tokens = 4;
  Sequence by_string(request, &tokenizer, nullptr);
  EXPECT_EQ(Until(by_string, "abababx", FinishReason::kStop), "ababab");
  Sequence by_token(request, &tokenizer, nullptr);
  EXPECT_EQ(Until(by_token, "xxxyzx", FinishReason::kStop), "xxxyzx");
  // Replayed tokens count.
  request.prompt = Bytes("pabab");
  request.first_draw = 4;
  Sequence replayed(request, &tokenizer, nullptr);
  EXPECT_EQ(Until(replayed, "ab", FinishReason::kStop), "ab");
}

TEST(Sequence, CountsItsCompletionForPenaltiesReplayedTokensIncluded) {
  Request request = Completing("aab");
  request.first_draw = 1;
  request.sampling.frequency_penalty = 1;
  Sequence sequence(request, nullptr, nullptr);
  sequence.TakeToken('c');
  sequence.TakeToken('a');
  sequence.TakeToken('c');
  ASSERT_NE(sequence.history(), nullptr);
  StepPlan plan;
  plan.history_tokens = {7};
  plan.history_counts = {7};
  const PlanRange range = sequence.history()->AppendTo(plan, std::vector<int32_t>{'b', 'z', 'z'});
  std::map<int32_t, int32_t> counts;
  for (int32_t i = range.first; i < range.first + range.count; ++i) {
    counts[plan.history_tokens[static_cast<size_t>(i)]] =
        plan.history_counts[static_cast<size_t>(i)];
  }
  EXPECT_EQ(counts, (std::map<int32_t, int32_t>{{'a', 1}, {'b', 2}, {'c', 2}, {'z', 2}}));
  EXPECT_EQ(range.first, 1);
  Request plain = Completing("a");
  EXPECT_EQ(Sequence(plain, nullptr, nullptr).history(), nullptr);
}

TEST(Sequence, SharesAllButItsLastTokenAndWhatIsToBeScored) {
  Request request = Completing("abcdef");
  EXPECT_EQ(Sequence(request, nullptr, nullptr).shareable(), 5);
  request.prompt_logprobs = true;
  Sequence scored(request, nullptr, nullptr);
  EXPECT_EQ(scored.shareable(), 0);
  scored.scored = 3;
  EXPECT_EQ(scored.shareable(), 3);
  scored.scored = 5;
  scored.TakeToken('g');
  EXPECT_EQ(scored.shareable(), 6);
}

TEST(PromptLookup, GuessesWhatFollowedTheLatestLikePlace) {
  PromptLookup lookup;
  std::vector<int32_t> text = Bytes("abcX...abcY...abc");
  EXPECT_EQ(lookup.Draft(text, 4), Bytes("Y..."));
  EXPECT_EQ(lookup.Draft(text, 0), Bytes(""));
  text.push_back('Z');
  EXPECT_EQ(lookup.Draft(text, 4), Bytes(""));
  for (const char c : std::string("abc")) text.push_back(c);
  EXPECT_EQ(lookup.Draft(text, 2), Bytes("Za"));
}

TEST(PromptLookup, APeriodGoesOnIntoTheDraft) {
  PromptLookup lookup;
  EXPECT_EQ(lookup.Draft(Bytes("xyxyx"), 5), Bytes("yxyxy"));
  EXPECT_EQ(PromptLookup().Draft(Bytes("aaaa"), 3), Bytes("aaa"));
  EXPECT_EQ(PromptLookup().Draft(Bytes("aaa"), 3), Bytes(""));
}

}  // namespace
}  // namespace trireme
