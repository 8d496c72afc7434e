#include "launcher/request/admission.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <span>

#include "launcher/request/limits.h"
#include "runtime/sampling/sampler.h"
#include "tests/support/byte_tokenizer.h"
#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// One turn a line, ended by "<end>".
class LineFormat final : public ChatFormat {
 public:
  std::string_view name() const override { return "lines"; }
  absl::StatusOr<RenderedChat> Render(const ChatRequest& request) const override {
    RenderedChat chat;
    for (const ChatMessage& message : request.messages) {
      if (message.role == "robot") return absl::InvalidArgumentError("role: robot is unknown");
      chat.runs.push_back({.text = message.role + ":", .from_user = false});
      chat.runs.push_back({.text = message.content, .from_user = true});
    }
    return chat;
  }
  bool supports_tools() const override { return false; }
  std::vector<std::string> stop_tokens() const override { return {"<end>"}; }
};

const ServedModel kModel{.name = "small",
                         .vocabulary = ByteTokenizer::kEnd + 1,
                         .max_positions = 32,
                         .stop_tokens = {ByteTokenizer::kEnd}};

absl::StatusOr<AcceptedRequest> Generate(const v1::GenerateRequest& request) {
  static const ByteTokenizer tokenizer;
  return AdmitGenerate(request, kModel, &tokenizer, {.seed = 77, .id = "r-1"});
}
absl::StatusOr<AcceptedRequest> Chat(const v1::ChatRequest& request) {
  return AdmitChat(request, kModel, ByteTokenizer(), LineFormat(), {.seed = 77, .id = "r-1"});
}

v1::GenerateRequest Valid() {
  v1::GenerateRequest request;
  request.set_prompt("abc");
  request.set_max_tokens(4);
  return request;
}

TEST(AdmissionTest, FillsInWhatTheClientLeftOut) {
  const auto accepted = Generate(Valid());
  ASSERT_OK(accepted);
  EXPECT_EQ(accepted->id, "r-1");
  EXPECT_THAT(accepted->request.prompt, ElementsAre('a', 'b', 'c'));
  EXPECT_EQ(accepted->request.max_tokens, 4);
  EXPECT_EQ(accepted->request.sampling.temperature, 0);
  EXPECT_EQ(accepted->request.sampling.top_p, 1);
  EXPECT_EQ(accepted->request.sampling.seed, 77u);
  EXPECT_EQ(accepted->request.num_logprobs, -1);
  EXPECT_THAT(accepted->request.stop_tokens, ElementsAre(ByteTokenizer::kEnd));
}

TEST(AdmissionTest, IgnoreEosLeavesTheClientsOwnStopTokens) {
  v1::GenerateRequest request = Valid();
  request.set_ignore_eos(true);
  request.add_stop_tokens(7);
  EXPECT_THAT(Generate(request)->request.stop_tokens, ElementsAre(7));
}

using Change = std::function<void(v1::GenerateRequest&)>;
using R = v1::GenerateRequest;

// Each change alone makes the request one that is refused, naming the field.
void ExpectEachRefused(std::span<const std::pair<std::string, Change>> cases) {
  for (const auto& [field, change] : cases) {
    v1::GenerateRequest request = Valid();
    change(request);
    EXPECT_THAT(Generate(request), StatusIs(kInvalid, HasSubstr(field)))
        << request.ShortDebugString().substr(0, 200);
  }
}

TEST(AdmissionTest, RefusesEachMeaninglessValueByTheNameOfItsField) {
  const std::pair<std::string, Change> cases[] = {
      {"input", [](R& r) { r.clear_input(); }},
      {"prompt", [](R& r) { r.set_prompt(""); }},
      {"prompt", [](R& r) { r.mutable_prompt_tokens(); }},
      {"prompt", [](R& r) { r.set_prompt(std::string(1 << 20, 'x')); }},
      {"prompt_tokens[1]",
       [](R& r) {
         r.mutable_prompt_tokens()->add_ids(0);
         r.mutable_prompt_tokens()->add_ids(257);
       }},
      {"prompt_tokens[0]", [](R& r) { r.mutable_prompt_tokens()->add_ids(-1); }},
      {"max_tokens", [](R& r) { r.set_max_tokens(0); }},
      {"max_tokens", [](R& r) { r.set_max_tokens(-1); }},
      {"max_tokens", [](R& r) { r.set_max_tokens(30); }},
      {"max_tokens", [](R& r) { r.set_max_tokens(std::numeric_limits<int32_t>::max()); }},
      {"temperature", [](R& r) { r.mutable_sampling()->set_temperature(kNan); }},
      {"temperature", [](R& r) { r.mutable_sampling()->set_temperature(kInfinity); }},
      {"temperature", [](R& r) { r.mutable_sampling()->set_temperature(-0.1f); }},
      {"temperature", [](R& r) { r.mutable_sampling()->set_temperature(100.5f); }},
      {"top_k", [](R& r) { r.mutable_sampling()->set_top_k(-1); }},
      {"top_p", [](R& r) { r.mutable_sampling()->set_top_p(0); }},
      {"top_p", [](R& r) { r.mutable_sampling()->set_top_p(1.1f); }},
      {"top_p", [](R& r) { r.mutable_sampling()->set_top_p(kNan); }},
      {"min_p", [](R& r) { r.mutable_sampling()->set_min_p(-0.1f); }},
      {"min_p", [](R& r) { r.mutable_sampling()->set_min_p(kInfinity); }},
      {"stop_tokens[0]", [](R& r) { r.add_stop_tokens(257); }},
      {"stop_tokens",
       [](R& r) {
         for (size_t i = 0; i <= kMaxStopTokens; ++i) r.add_stop_tokens(1);
       }},
      {"logprobs", [](R& r) { r.set_logprobs(-1); }},
      {"logprobs", [](R& r) { r.set_logprobs(kMaxLogprobs + 1); }},
      {"repetition_penalty", [](R& r) { r.mutable_sampling()->set_repetition_penalty(0); }},
      {"repetition_penalty", [](R& r) { r.mutable_sampling()->set_repetition_penalty(-1); }},
      {"repetition_penalty", [](R& r) { r.mutable_sampling()->set_repetition_penalty(10.5f); }},
      {"repetition_penalty", [](R& r) { r.mutable_sampling()->set_repetition_penalty(kNan); }},
      {"frequency_penalty", [](R& r) { r.mutable_sampling()->set_frequency_penalty(2.5f); }},
      {"frequency_penalty", [](R& r) { r.mutable_sampling()->set_frequency_penalty(kNan); }},
      {"presence_penalty", [](R& r) { r.mutable_sampling()->set_presence_penalty(-2.5f); }},
      {"presence_penalty", [](R& r) { r.mutable_sampling()->set_presence_penalty(kInfinity); }},
  };
  ExpectEachRefused(cases);
}

TEST(AdmissionTest, RefusesEachMeaninglessEndByTheNameOfItsField) {
  const std::pair<std::string, Change> cases[] = {
      {"min_tokens", [](R& r) { r.set_min_tokens(-1); }},
      {"min_tokens", [](R& r) { r.set_min_tokens(5); }},
      {"logit_bias[5]", [](R& r) { (*r.mutable_logit_bias())[5] = kNan; }},
      {"logit_bias[5]", [](R& r) { (*r.mutable_logit_bias())[5] = kInfinity; }},
      {"logit_bias[5]", [](R& r) { (*r.mutable_logit_bias())[5] = -100.5f; }},
      {"logit_bias", [](R& r) { (*r.mutable_logit_bias())[257] = 1; }},
      {"logit_bias", [](R& r) { (*r.mutable_logit_bias())[-1] = 1; }},
      {"logit_bias: expected at most 300",
       [](R& r) {
         for (int32_t i = 0; i <= int32_t{kMaxLogitBiases}; ++i) (*r.mutable_logit_bias())[i] = 1;
       }},
      {"logit_bias: expected a token that may be drawn",
       [](R& r) {
         for (int32_t i = 0; i < kModel.vocabulary; ++i) (*r.mutable_logit_bias())[i] = -kInfinity;
       }},
      {"stop[0]", [](R& r) { r.add_stop(""); }},
      {"stop[1]",
       [](R& r) {
         r.add_stop("x");
         r.add_stop(std::string(kMaxStopStringBytes + 1, 'x'));
       }},
      {"stop: expected at most 16",
       [](R& r) {
         for (size_t i = 0; i <= kMaxStopStrings; ++i) r.add_stop("x");
       }},
      {"n: expected", [](R& r) { r.set_n(0); }},
      {"n: expected", [](R& r) { r.set_n(-1); }},
      {"n: expected", [](R& r) { r.set_n(kMaxCompletions + 1); }},
      {"priority", [](R& r) { r.set_priority(kMaxPriority + 1); }},
      {"priority", [](R& r) { r.set_priority(std::numeric_limits<int32_t>::min()); }},
      {"tenant", [](R& r) { r.set_tenant(std::string(kMaxTenantBytes + 1, 't')); }},
      {"constraint.json_object", [](R& r) { r.mutable_constraint()->set_json_object(false); }},
      {"constraint.json_schema", [](R& r) { r.mutable_constraint()->set_json_schema(""); }},
      {"constraint.json_schema",
       [](R& r) {
         r.mutable_constraint()->set_json_schema(std::string(kMaxSchemaBytes + 1, ' '));
       }},
      {"constraint.regex", [](R& r) { r.mutable_constraint()->set_regex(""); }},
      {"constraint.regex",
       [](R& r) { r.mutable_constraint()->set_regex(std::string(kMaxRegexBytes + 1, 'x')); }},
      {"constraint.choices", [](R& r) { r.mutable_constraint()->mutable_choices(); }},
      {"constraint.choices[0]",
       [](R& r) { r.mutable_constraint()->mutable_choices()->add_values(""); }},
      {"constraint.choices[0]",
       [](R& r) {
         r.mutable_constraint()->mutable_choices()->add_values(
             std::string(kMaxConstraintChoiceBytes + 1, 'x'));
       }},
      {"constraint.choices: expected 1 to 256",
       [](R& r) {
         for (size_t i = 0; i <= kMaxConstraintChoices; ++i) {
           r.mutable_constraint()->mutable_choices()->add_values(std::to_string(i));
         }
       }},
      {"request_id", [](R& r) { r.set_request_id(std::string(kMaxRequestIdBytes + 1, 'i')); }},
  };
  ExpectEachRefused(cases);
}

TEST(AdmissionTest, AcceptsEachLimitItself) {
  v1::GenerateRequest request = Valid();
  request.set_max_tokens(29);  // 3 + 29 = 32
  request.mutable_sampling()->set_temperature(kMaxTemperature);
  request.mutable_sampling()->set_top_p(1);
  request.mutable_sampling()->set_min_p(1);
  request.mutable_sampling()->set_top_k(std::numeric_limits<int32_t>::max());
  request.set_logprobs(kMaxLogprobs);
  request.set_request_id(std::string(kMaxRequestIdBytes, 'i'));
  for (size_t i = 0; i < kMaxStopTokens; ++i) request.add_stop_tokens(0);
  request.set_min_tokens(29);
  request.mutable_sampling()->set_repetition_penalty(kMinRepetitionPenalty);
  request.mutable_sampling()->set_frequency_penalty(kMaxPenalty);
  request.mutable_sampling()->set_presence_penalty(-kMaxPenalty);
  for (int32_t i = 0; i < 256; ++i) (*request.mutable_logit_bias())[i] = -kMaxLogitBias;
  (*request.mutable_logit_bias())[0] = -kInfinity;
  for (size_t i = 0; i < kMaxStopStrings; ++i)
    request.add_stop(std::string(kMaxStopStringBytes, 'x'));
  request.set_n(kMaxCompletions);
  request.set_priority(-kMaxPriority);
  request.set_tenant(std::string(kMaxTenantBytes, 't'));
  for (size_t i = 0; i < kMaxConstraintChoices; ++i) {
    request.mutable_constraint()->mutable_choices()->add_values(
        std::string(kMaxConstraintChoiceBytes, 'x'));
  }
  EXPECT_OK(Generate(request));
  request.set_logprobs(0);
  EXPECT_EQ(Generate(request)->request.num_logprobs, 0);
}

TEST(AdmissionTest, TakesEveryFieldIntoTheRequest) {
  v1::GenerateRequest request = Valid();
  request.set_min_tokens(2);
  request.mutable_sampling()->set_repetition_penalty(1.5f);
  request.mutable_sampling()->set_frequency_penalty(0.25f);
  request.mutable_sampling()->set_presence_penalty(-0.5f);
  (*request.mutable_logit_bias())[9] = 1.5f;
  (*request.mutable_logit_bias())[4] = -kInfinity;
  request.add_stop("END");
  request.set_n(3);
  request.set_echo(true);
  request.set_prompt_logprobs(true);
  request.set_priority(-2);
  request.set_tenant("someone");
  request.mutable_constraint()->set_regex("[ab]+");
  const auto accepted = Generate(request);
  ASSERT_OK(accepted);
  EXPECT_EQ(accepted->choices, 3);
  EXPECT_EQ(accepted->echo, "abc");
  const Request& out = accepted->request;
  EXPECT_EQ(out.min_tokens, 2);
  EXPECT_EQ(out.sampling.repetition_penalty, 1.5f);
  EXPECT_EQ(out.sampling.frequency_penalty, 0.25f);
  EXPECT_EQ(out.sampling.presence_penalty, -0.5f);
  ASSERT_EQ(out.logit_bias.size(), 2u);
  EXPECT_EQ(out.logit_bias[0].token, 4);
  EXPECT_EQ(out.logit_bias[0].bias, -kInfinity);
  EXPECT_EQ(out.logit_bias[1].token, 9);
  EXPECT_THAT(out.stop_strings, ElementsAre("END"));
  EXPECT_TRUE(out.prompt_logprobs);
  EXPECT_EQ(out.priority, -2);
  EXPECT_EQ(out.tenant, "someone");
  EXPECT_EQ(out.grammar.kind, GrammarSpec::Kind::kRegex);
  EXPECT_EQ(out.grammar.text, "[ab]+");
  // The choices differ in their draws, and the first alone scores the prompt.
  EXPECT_EQ(ChoiceOf(*accepted, 2).sequence, 2u);
  EXPECT_TRUE(ChoiceOf(*accepted, 0).prompt_logprobs);
  EXPECT_FALSE(ChoiceOf(*accepted, 2).prompt_logprobs);
}

TEST(AdmissionTest, AnEchoOfTokensIsTheirText) {
  v1::GenerateRequest request = Valid();
  for (const char c : {'o', 'k'}) request.mutable_prompt_tokens()->add_ids(c);
  EXPECT_EQ(Generate(request)->echo, "");
  request.set_echo(true);
  EXPECT_EQ(Generate(request)->echo, "ok");
}

TEST(AdmissionTest, WithoutATokenizerNothingIsText) {
  const auto admit = [](const v1::GenerateRequest& request) {
    return AdmitGenerate(request, kModel, nullptr, {});
  };
  v1::GenerateRequest request = Valid();
  EXPECT_THAT(admit(request), StatusIs(kInvalid, HasSubstr("prompt: the model has no tokenizer")));
  request.mutable_prompt_tokens()->add_ids(1);
  EXPECT_OK(admit(request));
  request.add_stop("x");
  EXPECT_THAT(admit(request), StatusIs(kInvalid, HasSubstr("stop: the model has no tokenizer")));
}

TEST(AdmissionTest, RefusesAnotherModel) {
  v1::GenerateRequest request = Valid();
  request.set_model("large");
  EXPECT_THAT(Generate(request), StatusIs(absl::StatusCode::kNotFound, HasSubstr("small")));
  request.set_model("small");
  EXPECT_OK(Generate(request));
}

TEST(AdmissionTest, ErrorsNeverRepeatWhatPeopleWrote) {
  v1::GenerateRequest request = Valid();
  request.set_prompt("secret secret secret secret secret");
  const auto refused = Generate(request);
  ASSERT_FALSE(refused.ok());
  EXPECT_THAT(std::string(refused.status().message()), testing::Not(HasSubstr("secret")));
}

TEST(AdmissionTest, ChatTakesTheRoomThatIsLeftAndStopsAtTheTurnsEnd) {
  v1::ChatRequest request;
  v1::ChatMessage* message = request.add_messages();
  message->set_role("user");
  message->set_content("hi<end>");
  const auto accepted = Chat(request);
  ASSERT_OK(accepted);
  EXPECT_EQ(accepted->request.max_tokens,
            32 - static_cast<int32_t>(accepted->request.prompt.size()));
  EXPECT_THAT(accepted->request.stop_tokens, ElementsAre(ByteTokenizer::kEnd));
  // What people wrote is bytes, never the control token.
  EXPECT_THAT(accepted->request.prompt, testing::Not(testing::Contains(ByteTokenizer::kEnd)));
}

TEST(AdmissionTest, ChatRefusesWhatCannotBeRendered) {
  EXPECT_THAT(Chat(v1::ChatRequest()), StatusIs(kInvalid, HasSubstr("messages")));
  v1::ChatRequest request;
  request.add_messages()->set_role("robot");
  EXPECT_THAT(Chat(request), StatusIs(kInvalid, HasSubstr("robot")));
  v1::ChatRequest tools;
  tools.add_messages()->set_role("user");
  tools.add_tools_json("{}");
  EXPECT_THAT(Chat(tools), StatusIs(kInvalid, HasSubstr("tools_json")));
  v1::ChatRequest full;
  full.add_messages()->set_role("user");
  full.mutable_messages(0)->set_content(std::string(32, 'x'));
  EXPECT_THAT(Chat(full), StatusIs(kInvalid, HasSubstr("no room")));
}

}  // namespace
}  // namespace trireme
