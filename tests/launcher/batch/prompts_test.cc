#include "launcher/batch/prompts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/byte_tokenizer.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_directory.h"

namespace trireme {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

class PromptsTest : public testing::Test {
 protected:
  PromptsTest() { defaults_.set_max_tokens(16); }

  absl::StatusOr<std::vector<AcceptedRequest>> Read(std::string_view lines) {
    path_ = directory_.Write("prompts.jsonl", lines);
    PromptFlags flags;
    flags.prompts_file = path_;
    return ReadPrompts(flags, defaults_, model_, &tokenizer_);
  }
  // "FILE:LINE: "
  std::string At(int line) const { return path_ + ":" + std::to_string(line) + ": "; }

  TempDirectory directory_;
  std::string path_;
  v1::GenerateRequest defaults_;
  ByteTokenizer tokenizer_;
  const ServedModel model_{.name = {},
                           .vocabulary = ByteTokenizer::kEnd + 1,
                           .max_positions = 0,
                           .stop_tokens = {ByteTokenizer::kEnd}};
};

TEST_F(PromptsTest, ALineMayHoldEveryFieldOfARequest) {
  const auto prompts = Read(
      R"({"prompt": "ab", "max_tokens": 9, "min_tokens": 2, "temperature": 0.5, "top_k": 3,)"
      R"( "top_p": 0.9, "min_p": 0.1, "seed": 18446744073709551615, "repetition_penalty": 1.5,)"
      R"( "frequency_penalty": 1, "presence_penalty": -1, "logit_bias": {"7": -2.5},)"
      R"( "stop": ["x", "yz"], "stop_tokens": [1], "ignore_eos": true, "n": 2, "logprobs": 21,)"
      R"( "prompt_logprobs": true, "echo": true, "priority": -1, "tenant": "t",)"
      R"( "choices": ["yes", "no"]})");
  ASSERT_OK(prompts);
  ASSERT_EQ(prompts->size(), 1u);
  const AcceptedRequest& accepted = prompts->front();
  EXPECT_EQ(accepted.choices, 2);
  EXPECT_EQ(accepted.echo, "ab");
  const Request& request = accepted.request;
  EXPECT_THAT(request.prompt, ElementsAre('a', 'b'));
  EXPECT_EQ(request.max_tokens, 9);
  EXPECT_EQ(request.min_tokens, 2);
  EXPECT_EQ(request.sampling.temperature, 0.5f);
  EXPECT_EQ(request.sampling.top_k, 3);
  EXPECT_EQ(request.sampling.top_p, 0.9f);
  EXPECT_EQ(request.sampling.min_p, 0.1f);
  EXPECT_EQ(request.sampling.seed, 18446744073709551615u);
  EXPECT_EQ(request.sampling.repetition_penalty, 1.5f);
  EXPECT_EQ(request.sampling.frequency_penalty, 1);
  EXPECT_EQ(request.sampling.presence_penalty, -1);
  ASSERT_EQ(request.logit_bias.size(), 1u);
  EXPECT_EQ(request.logit_bias[0].token, 7);
  EXPECT_EQ(request.logit_bias[0].bias, -2.5f);
  EXPECT_THAT(request.stop_strings, ElementsAre("x", "yz"));
  EXPECT_THAT(request.stop_tokens, ElementsAre(1));
  EXPECT_EQ(request.num_logprobs, 21) << "more than a service allows";
  EXPECT_TRUE(request.prompt_logprobs);
  EXPECT_EQ(request.priority, -1);
  EXPECT_EQ(request.tenant, "t");
  EXPECT_EQ(request.grammar.kind, GrammarSpec::Kind::kChoice);
  EXPECT_THAT(request.grammar.choices, ElementsAre("yes", "no"));
}

TEST_F(PromptsTest, ALineGoesBeforeTheFlagsFieldByField) {
  defaults_.add_stop("flag");
  defaults_.set_min_tokens(4);
  defaults_.mutable_sampling()->set_temperature(1);
  defaults_.mutable_sampling()->set_top_k(5);
  defaults_.mutable_constraint()->set_json_object(true);
  const auto prompts = Read(
      "{\"prompt_tokens\": [1, 2], \"stop\": [\"line\"], \"min_tokens\": 0, \"temperature\": 0, "
      "\"regex\": \"a+\"}\n{\"prompt\": \"a\"}\n");
  ASSERT_OK(prompts);
  const Request& line = prompts->at(0).request;
  EXPECT_THAT(line.prompt, ElementsAre(1, 2));
  EXPECT_THAT(line.stop_strings, ElementsAre("line"));
  EXPECT_EQ(line.min_tokens, 0);
  EXPECT_EQ(line.sampling.temperature, 0);
  EXPECT_EQ(line.sampling.top_k, 5);
  EXPECT_EQ(line.grammar.kind, GrammarSpec::Kind::kRegex);
  const Request& other = prompts->at(1).request;
  EXPECT_THAT(other.stop_strings, ElementsAre("flag"));
  EXPECT_EQ(other.min_tokens, 4);
  EXPECT_EQ(other.grammar.kind, GrammarSpec::Kind::kJsonObject);
  EXPECT_EQ(other.sampling.seed, 0u);
  EXPECT_THAT(other.stop_tokens, ElementsAre(ByteTokenizer::kEnd));
}

TEST_F(PromptsTest, ASchemaMayBeWrittenAsItself) {
  const auto prompts = Read(R"({"prompt": "a", "json_schema": {"type": "object"}})");
  ASSERT_OK(prompts);
  EXPECT_EQ(prompts->at(0).request.grammar.text, R"({"type":"object"})");
}

TEST_F(PromptsTest, ErrorsNameFileLineAndKey) {
  const std::pair<std::string, std::string> cases[] = {
      {R"({"prompt": "a", "max_tokns": 3})", "unknown key \"max_tokns\""},
      {R"({"prompt": "a", "model": "m"})", "unknown key \"model\""},
      {R"({"prompt": "a", "sampling": {}})", "unknown key \"sampling\""},
      {R"({"prompt": "a", "max_tokens": "3"})", "\"max_tokens\" must be a whole number"},
      {R"({"prompt": "a", "max_tokens": 1.5})", "\"max_tokens\" must be a whole number"},
      {R"({"prompt": "a", "max_tokens": 4294967296})", "\"max_tokens\" must be a whole number"},
      {R"({"prompt": "a", "max_tokens": null})", "\"max_tokens\" must be a whole number"},
      {R"({"prompt": "a", "max_tokens": 0})", "max_tokens: expected at least 1"},
      {R"({"prompt": "a", "seed": -1})", "\"seed\" must be a whole number of 0 or more"},
      {R"({"prompt": "a", "temperature": true})", "\"temperature\" must be a number"},
      {R"({"prompt": "a", "temperature": 101})", "sampling.temperature: expected"},
      {R"({"prompt": "a", "ignore_eos": 1})", "\"ignore_eos\" must be true or false"},
      {R"({"prompt": "a", "stop": "x"})", "\"stop\" must be a list, each text"},
      {R"({"prompt": "a", "stop": [1]})", "\"stop\" must be a list, each text"},
      {R"({"prompt": "a", "logit_bias": {"x": 1}})", "\"logit_bias\" must be an object"},
      {R"({"prompt": "a", "logit_bias": [1]})", "\"logit_bias\" must be an object"},
      {R"({"prompt": "a", "choices": "x"})", "\"choices\" must be a list"},
      {R"({"prompt": "a", "n": 0})", "n: expected"},
      {R"({"prompt_tokens": [1, -1]})", "prompt_tokens[1]: expected an id"},
      {R"({"prompt_tokens": 1})", "\"prompt_tokens\" must be a list"},
      {R"({"prompt": "a", "prompt_tokens": [1]})", "either \"prompt\" or \"prompt_tokens\""},
      {R"({"max_tokens": 1})", "either \"prompt\" or \"prompt_tokens\""},
      {R"([1])", "a line must be a JSON object"},
      {R"({"prompt": )", "a line must be a JSON object"},
  };
  for (const auto& [line, cause] : cases) {
    EXPECT_THAT(Read("{\"prompt\": \"good\"}\n" + line + "\n"),
                StatusIs(kInvalid, AllOf(HasSubstr(At(2)), HasSubstr(cause))))
        << line;
  }
}

TEST_F(PromptsTest, FlagsNameAPromptToo) {
  PromptFlags flags;
  flags.prompt_tokens = "1,2,3";
  EXPECT_THAT(ReadPrompts(flags, defaults_, model_, nullptr)->at(0).request.prompt,
              ElementsAre(1, 2, 3));
  flags.prompt_tokens = "1,x";
  EXPECT_THAT(ReadPrompts(flags, defaults_, model_, nullptr),
              StatusIs(kInvalid, HasSubstr("--prompt-tokens")));
  flags.prompt_tokens.clear();
  flags.prompt = "hi";
  EXPECT_THAT(ReadPrompts(flags, defaults_, model_, &tokenizer_)->at(0).request.prompt,
              ElementsAre('h', 'i'));
}

}  // namespace
}  // namespace trireme
