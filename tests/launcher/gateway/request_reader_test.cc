#include "launcher/gateway/openai_request/request_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "launcher/gateway/openai_request/tool_prompt.h"
#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

constexpr std::string_view kHi = R"("messages":[{"role":"user","content":"Hi"}])";

std::string ChatWith(std::string_view fields) {
  return "{" + std::string(kHi) + (fields.empty() ? "" : ",") + std::string(fields) + "}";
}
std::string PromptWith(std::string_view fields) {
  return R"({"prompt":"Hi")" + std::string(fields.empty() ? "" : ",") + std::string(fields) + "}";
}

TEST(ReadChatTest, TakesEveryField) {
  const auto call = ReadChatCall(ChatWith(
      R"("model":"m","temperature":0.5,"top_p":0.9,"top_k":-1,"min_p":0.1,"seed":-1,"n":2,"stop":"x",)"
      R"("repetition_penalty":1.5,"frequency_penalty":1,"presence_penalty":-1,"logit_bias":{"7":-2},)"
      R"("min_tokens":3,"ignore_eos":true,"stop_token_ids":[4],"priority":-2,"logprobs":true,)"
      R"("top_logprobs":5,"max_tokens":8,"max_completion_tokens":9.0,"stream":true,"user":"u",)"
      R"("stream_options":{"include_usage":true,"continuous_usage_stats":true},"unknown":{"a":[1]})"));
  ASSERT_OK(call);
  const v1::ChatRequest& request = call->request;
  EXPECT_EQ(request.model(), "m");
  EXPECT_FLOAT_EQ(request.sampling().temperature(), 0.5);
  EXPECT_EQ(request.sampling().top_k(), 0);
  EXPECT_EQ(request.sampling().seed(), ~uint64_t{0});
  EXPECT_EQ(request.n(), 2);
  EXPECT_THAT(request.stop(), ElementsAre("x"));
  EXPECT_FLOAT_EQ(request.logit_bias().at(7), -2);
  EXPECT_EQ(request.min_tokens(), 3);
  EXPECT_TRUE(request.ignore_eos());
  EXPECT_THAT(request.stop_tokens(), ElementsAre(4));
  EXPECT_EQ(request.priority(), -2);
  EXPECT_EQ(request.logprobs(), 5);
  EXPECT_EQ(request.max_tokens(), 9);
  EXPECT_TRUE(call->form.stream && call->form.include_usage && call->form.usage_in_every_event);
  EXPECT_TRUE(call->form.logprobs);
}

TEST(ReadChatTest, NullIsAbsentAndDefaultsAreOpenAIs) {
  const auto call = ReadChatCall(ChatWith(
      R"("temperature":null,"stop":null,"n":null,"tools":null,"stream":null,"response_format":null)"));
  ASSERT_OK(call);
  EXPECT_FLOAT_EQ(call->request.sampling().temperature(), 1);
  EXPECT_EQ(call->request.max_tokens(), 0);
  EXPECT_FALSE(call->request.has_logprobs());
  const auto completions = ReadCompletionsCall(PromptWith(""));
  ASSERT_OK(completions);
  EXPECT_EQ(completions->requests[0].max_tokens(), 16);
}

TEST(ReadChatTest, ReadsPartsAndRoles) {
  const auto call = ReadChatCall(
      R"({"messages":[{"role":"developer","content":"be brief"},{"role":"user","content":[)"
      R"({"type":"text","text":"a"},{"type":"text","text":"b"}]},{"role":"assistant","content":null,)"
      R"("tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{}"}}]},)"
      R"({"role":"tool","tool_call_id":"1","content":"ok"}]})");
  ASSERT_OK(call);
  EXPECT_EQ(call->request.messages(0).role(), "system");
  EXPECT_EQ(call->request.messages(1).content(), "ab");
  EXPECT_EQ(call->request.messages(2).tool_calls(0).name(), "f");
  EXPECT_EQ(call->request.messages(3).role(), "tool");
}

constexpr std::string_view kTool =
    R"("tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}])";

TEST(ReadChatTest, ToolChoiceIsEnforcedByAConstraint) {
  const auto choose = [](std::string_view choice) {
    return ReadChatCall(ChatWith(std::string(kTool) + std::string(choice)));
  };
  EXPECT_THAT(choose("")->form.tools, ElementsAre("f"));
  EXPECT_FALSE(choose("")->request.constraint().has_json_schema());
  EXPECT_TRUE(choose(R"(,"tool_choice":"none")")->form.tools.empty());
  EXPECT_EQ(choose(R"(,"tool_choice":"none")")->request.tools_json_size(), 0);
  for (const char* choice : {R"(,"tool_choice":"required")",
                             R"(,"tool_choice":{"type":"function","function":{"name":"f"}})"}) {
    const auto call = choose(choice);
    ASSERT_OK(call);
    EXPECT_EQ(
        call->request.constraint().json_schema(),
        R"({"type":"object","properties":{"name":{"const":"f"},"parameters":{"type":"object"}},)"
        R"("required":["name","parameters"],"additionalProperties":false})");
  }
  EXPECT_THAT(choose(R"(,"tool_choice":{"type":"function","function":{"name":"g"}})"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("tool_choice")));
  EXPECT_THAT(choose(R"(,"tool_choice":"required","response_format":{"type":"json_object"})"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("response_format")));
  EXPECT_THAT(ReadChatCall(ChatWith(R"("tool_choice":"required")")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("tool_choice")));
}

TEST(ReadChatTest, SchemasKeepTheirOrder) {
  const auto call = ReadChatCall(
      ChatWith(R"("response_format":{"type":"json_schema","json_schema":{"name":"n","schema":)"
               R"({"type":"object","properties":{"z":{},"a":{}}}}})"));
  ASSERT_OK(call);
  EXPECT_EQ(call->request.constraint().json_schema(),
            R"({"type":"object","properties":{"z":{},"a":{}}})");
}

TEST(ReadCompletionsTest, TakesEveryFormOfPrompt) {
  const auto prompts = [](std::string_view prompt) {
    return ReadCompletionsCall(R"({"prompt":)" + std::string(prompt) + "}");
  };
  EXPECT_EQ(prompts(R"("a")")->requests[0].prompt(), "a");
  EXPECT_EQ(prompts(R"(["a","b"])")->requests.size(), 2u);
  EXPECT_THAT(prompts("[1,2]")->requests[0].prompt_tokens().ids(), ElementsAre(1, 2));
  EXPECT_EQ(prompts("[[1,2],[3]]")->requests.size(), 2u);
  for (const char* bad : {"null", "1", "{}", "[[1],[\"a\"]]", "[1,-2]", "[1,\"a\"]", "[2147483648]",
                          "[1.5]", "[[[1]]]", "[null]"}) {
    EXPECT_THAT(prompts(bad), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("prompt")))
        << bad;
  }
  EXPECT_THAT(prompts("[" + std::string(256, 'x') + "]"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("body")));
}

TEST(ReadCompletionsTest, ScoringAloneMakesNothing) {
  const auto call = ReadCompletionsCall(PromptWith(R"("max_tokens":0,"echo":true,"logprobs":1)"));
  ASSERT_OK(call);
  EXPECT_TRUE(call->form.score_only);
  EXPECT_EQ(call->requests[0].max_tokens(), 1);
  EXPECT_TRUE(call->requests[0].prompt_logprobs());
}

TEST(ReadTest, RefusesByTheFieldsName) {
  const struct {
    const char* field;
    std::string body;
  } kBad[] = {
      {"temperature", ChatWith(R"("temperature":"hot")")},
      {"n", ChatWith(R"("n":"2")")},
      {"n", ChatWith(R"("n":1.5)")},
      {"n", ChatWith(R"("n":4294967296)")},
      {"seed", ChatWith(R"("seed":9223372036854775808)")},
      {"stop", ChatWith(R"("stop":{"a":1})")},
      {"stop", ChatWith(R"("stop":[1])")},
      {"logit_bias", ChatWith(R"("logit_bias":[1])")},
      {"logit_bias", ChatWith(R"("logit_bias":{"a":1})")},
      {"logit_bias", ChatWith(R"("logit_bias":{"1":"x"})")},
      {"stream", ChatWith(R"("stream":1)")},
      {"stream_options", ChatWith(R"("stream_options":{"include_usage":true})")},
      {"max_tokens", ChatWith(R"("max_tokens":0)")},
      {"top_logprobs", ChatWith(R"("top_logprobs":2)")},
      {"response_format", ChatWith(R"("response_format":"json")")},
      {"response_format", ChatWith(R"("response_format":{"type":"xml"})")},
      {"response_format", ChatWith(R"("response_format":{"type":"json_schema"})")},
      {"messages", "{}"},
      {"messages", R"({"messages":[]})"},
      {"messages", R"({"messages":[1]})"},
      {"messages.role", R"({"messages":[{"role":"secret-role","content":"x"}]})"},
      {"messages.content", R"({"messages":[{"role":"user"}]})"},
      {"messages.content", R"({"messages":[{"role":"user","content":[{"type":"image_url"}]}]})"},
      {"messages.tool_calls", R"({"messages":[{"role":"assistant","tool_calls":[{}]}]})"},
      {"tools", ChatWith(R"("tools":[{"type":"retrieval"}])")},
      {"tools.function.name",
       ChatWith(R"("tools":[{"type":"function","function":{"name":"a b"}}])")},
  };
  for (const auto& [field, body] : kBad) {
    const auto call = ReadChatCall(body);
    EXPECT_THAT(call, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(field))) << body;
    EXPECT_THAT(std::string(call.status().message()), Not(HasSubstr("secret"))) << body;
  }
  EXPECT_THAT(ReadCompletionsCall(PromptWith(R"("suffix":"end")")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("suffix: not supported")));
  EXPECT_THAT(ReadCompletionsCall(PromptWith(R"("best_of":3)")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("best_of")));
}

TEST(ReadTest, BoundsTheBodyBeforeAnythingIsBuilt) {
  for (const std::string& body :
       {std::string(), std::string("null"), std::string("[]"), std::string("{"),
        std::string("\"x\""), std::string(100'000, '['),
        std::string("{\"a\":") + std::string(100'000, '{'),
        std::string(R"({"messages":1,"messages":2})"), std::string("{\"a\":\"\xff\"}"),
        std::string(R"({"a":"\ud800"})"), std::string("{\"a\":\"\0\"}", 9),
        std::string("{\"a\":NaN}"), std::string("{\"a\":1e999}"), std::string("{\"a\":01}"),
        std::string("{'a':1}")}) {
    EXPECT_THAT(ReadChatCall(body), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("body")))
        << body.substr(0, 40);
  }
  std::string wide = R"({"x":{)";
  for (int i = 0; i < 1'025; ++i) wide += (i == 0 ? "\"" : ",\"") + std::to_string(i) + "\":1";
  EXPECT_THAT(ReadChatCall(wide + "}}"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("1024 keys")));
  std::string many = R"({"x":[0)";
  for (int i = 0; i < 300'001; ++i) many += ",0";
  EXPECT_THAT(ReadChatCall(many + "]}"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("300000 values")));
}

TEST(DescribeToolsTest, PutsToolsAndCallsIntoTexts) {
  auto call = ReadChatCall(
      R"({"messages":[{"role":"user","content":"Hi"},{"role":"assistant","tool_calls":[{"function":)"
      R"({"name":"f","arguments":"{\"a\":1}"}}]},{"role":"tool","content":"2"}],)" +
      std::string(kTool) + "}");
  ASSERT_OK(call);
  DescribeTools(call->request);
  ASSERT_EQ(call->request.messages_size(), 4);
  EXPECT_EQ(call->request.messages(0).role(), "system");
  EXPECT_THAT(call->request.messages(0).content(), HasSubstr("\"name\":\"f\""));
  EXPECT_EQ(call->request.messages(1).content(), "Hi");
  EXPECT_EQ(call->request.messages(2).content(), R"({"name":"f","parameters":{"a":1}})");
  EXPECT_EQ(call->request.messages(3).role(), "user");
}

}  // namespace
}  // namespace trireme
