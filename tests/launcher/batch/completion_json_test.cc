#include "launcher/batch/completion_json.h"

#include <gtest/gtest.h>

namespace trireme {
namespace {

SampledToken Token(int32_t id, float logprob) {
  SampledToken token;
  token.token = id;
  token.logprob = logprob;
  token.top_tokens = {id, 9};
  token.top_logprobs = {logprob, -2.25f};
  return token;
}

TEST(CompletionJsonTest, IsTheContractByteForByte) {
  const std::vector<int32_t> prompt = {1, 2, 3};
  Completion completion;
  completion.tokens = {Token(5, -0.1f)};
  completion.finish = FinishReason::kLength;
  CompletionLine line{.prompt = prompt, .completion = completion, .text = "a\"b"};
  EXPECT_EQ(CompletionJson(line),
            R"({"index":0,"prompt_tokens":[1,2,3],"tokens":[5],"text":"a\"b",)"
            R"("finish_reason":"length","usage":{"prompt_tokens":3,"completion_tokens":1}})");
  line.logprobs = true;
  EXPECT_EQ(CompletionJson(line),
            R"({"index":0,"prompt_tokens":[1,2,3],"tokens":[5],"text":"a\"b",)"
            R"("logprobs":[{"token":5,"logprob":-0.1,"top":[[5,-0.1],[9,-2.25]]}],)"
            R"("finish_reason":"length","usage":{"prompt_tokens":3,"completion_tokens":1}})");
}

TEST(CompletionJsonTest, SeveralCompletionsOfAPromptSayWhichOneTheyAre) {
  const std::vector<int32_t> prompt = {1, 2};
  Completion completion;
  completion.prompt_scores = {Token(2, -1)};
  completion.finish = FinishReason::kStop;
  const CompletionLine line{.index = 4,
                            .choice = 2,
                            .prompt = prompt,
                            .completion = completion,
                            .text = "",
                            .prompt_logprobs = true};
  EXPECT_EQ(CompletionJson(line),
            R"({"index":4,"choice":2,"prompt_tokens":[1,2],"tokens":[],"text":"",)"
            R"("prompt_logprobs":[{"token":2,"logprob":-1,"top":[[2,-1],[9,-2.25]]}],)"
            R"("finish_reason":"stop","usage":{"prompt_tokens":2,"completion_tokens":0}})");
  EXPECT_EQ(ErrorJson(4, 2, absl::InternalError("x")),
            R"({"index":4,"choice":2,"error":{"code":"INTERNAL","message":"x"}})");
}

}  // namespace
}  // namespace trireme
