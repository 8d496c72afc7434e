#include "launcher/request/admission.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "launcher/request/limits.h"
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
  return AdmitGenerate(request, kModel, ByteTokenizer(), {.seed = 77, .id = "r-1"});
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
  EXPECT_THAT(accepted->prompt, ElementsAre('a', 'b', 'c'));
  EXPECT_EQ(accepted->max_tokens, 4);
  EXPECT_EQ(accepted->sampling.temperature, 0);
  EXPECT_EQ(accepted->sampling.top_p, 1);
  EXPECT_EQ(accepted->sampling.seed, 77u);
  EXPECT_EQ(accepted->num_logprobs, -1);
  EXPECT_THAT(accepted->stop_tokens, ElementsAre(ByteTokenizer::kEnd));
}

TEST(AdmissionTest, IgnoreEosLeavesTheClientsOwnStopTokens) {
  v1::GenerateRequest request = Valid();
  request.set_ignore_eos(true);
  request.add_stop_tokens(7);
  EXPECT_THAT(Generate(request)->stop_tokens, ElementsAre(7));
}

TEST(AdmissionTest, RefusesEachMeaninglessValueByTheNameOfItsField) {
  using Change = std::function<void(v1::GenerateRequest&)>;
  using R = v1::GenerateRequest;
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
      {"request_id", [](R& r) { r.set_request_id(std::string(kMaxRequestIdBytes + 1, 'i')); }},
  };
  for (const auto& [field, change] : cases) {
    v1::GenerateRequest request = Valid();
    change(request);
    EXPECT_THAT(Generate(request), StatusIs(kInvalid, HasSubstr(field)))
        << request.ShortDebugString().substr(0, 200);
  }
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
  EXPECT_OK(Generate(request));
  request.set_logprobs(0);
  EXPECT_EQ(Generate(request)->num_logprobs, 0);
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
  EXPECT_EQ(accepted->max_tokens, 32 - static_cast<int32_t>(accepted->prompt.size()));
  EXPECT_THAT(accepted->stop_tokens, ElementsAre(ByteTokenizer::kEnd));
  // What people wrote is bytes, never the control token.
  EXPECT_THAT(accepted->prompt, testing::Not(testing::Contains(ByteTokenizer::kEnd)));
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
