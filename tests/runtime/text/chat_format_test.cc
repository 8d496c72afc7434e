#include "runtime/text/chat_format.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/text/chat_families.h"
#include "tests/runtime/text/golden_files.h"
#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

using testing::HasSubstr;
using Json = nlohmann::ordered_json;
using Ids = std::vector<int32_t>;

ChatRequest RequestOf(const Json& one) {
  ChatRequest request;
  for (const Json& message : one["messages"]) {
    ChatMessage& made = request.messages.emplace_back();
    made.role = message["role"].get<std::string>();
    made.content = message["content"].get<std::string>();
    for (const Json& call : message.value("tool_calls", Json::array())) {
      made.tool_calls.push_back(
          {call["function"]["name"].get<std::string>(), call["function"]["arguments"].dump()});
    }
  }
  if (one["tools"].is_array()) {
    for (const Json& tool : one["tools"]) request.tools_json.push_back(tool.dump());
  }
  request.add_generation_prompt = one["add_generation_prompt"].get<bool>();
  request.date_string = "26 Jul 2024";
  return request;
}

struct ChatGolden {
  const char* name;
  const char* file;
  const char* format;
  int tokenizer;  // index in kTokenizerFiles
};

class ChatGoldenTest : public testing::TestWithParam<ChatGolden> {
 protected:
  void SetUp() override {
    auto made = MakeChatFormatByName(GetParam().format);
    ASSERT_OK(made);
    format_ = *std::move(made);
    golden_ = ReadTestJson(GetParam().file);
    ASSERT_GE(golden_["cases"].size(), 18U);
  }

  std::unique_ptr<ChatFormat> format_;
  Json golden_;
};

TEST_P(ChatGoldenTest, RendersEveryConversationAsTheTemplate) {
  for (const Json& one : golden_["cases"]) {
    const auto chat = format_->Render(RequestOf(one));
    ASSERT_OK(chat) << one["name"];
    EXPECT_EQ(chat->Text(), one["rendered"].get<std::string>()) << one["name"];
  }
}

TEST_P(ChatGoldenTest, EncodesEveryConversationAsTheReference) {
  const TokenizerFile& file = kTokenizerFiles[GetParam().tokenizer];
  TRIREME_SKIP_WITHOUT(file);
  const auto tokenizer = LoadTokenizer(file.FullPath());
  ASSERT_OK(tokenizer);
  for (const Json& one : golden_["cases"]) {
    const auto chat = format_->Render(RequestOf(one));
    ASSERT_OK(chat);
    const auto ids = one["ids"].get<Ids>();
    const auto parsed = EncodeChat(**tokenizer, *chat, /*parse_user=*/true);
    ASSERT_OK(parsed);
    EXPECT_EQ(*parsed, ids) << one["name"];
    const auto served = EncodeChat(**tokenizer, *chat, /*parse_user=*/false);
    ASSERT_OK(served);
    if (one["name"] != "special-text-in-content") {
      EXPECT_EQ(*served, ids) << one["name"];
      continue;
    }
    // As many control tokens as the format itself wrote.
    const auto specials = [&](const Ids& all) {
      return std::count_if(all.begin(), all.end(),
                           [&](int32_t id) { return (*tokenizer)->IsSpecial(id); });
    };
    EXPECT_EQ(specials(*parsed), specials(*served) + 1) << one["name"];
    EXPECT_EQ((*tokenizer)->Decode(*served), chat->Text());
  }
}

TEST_P(ChatGoldenTest, IsChosenForItsTokenizer) {
  const TokenizerFile& file = kTokenizerFiles[GetParam().tokenizer];
  TRIREME_SKIP_WITHOUT(file);
  const auto tokenizer = LoadTokenizer(file.FullPath());
  ASSERT_OK(tokenizer);
  const auto format = MakeChatFormat(**tokenizer);
  ASSERT_OK(format);
  EXPECT_EQ((*format)->name(), GetParam().format);
}

INSTANTIATE_TEST_SUITE_P(
    All, ChatGoldenTest,
    testing::Values(ChatGolden{"SmolLM2", "chat/smollm2.json", "chatml-smollm2", 0},
                    ChatGolden{"SmolLM2Gguf", "chat/smollm2.json", "chatml-smollm2", 1},
                    ChatGolden{"Llama31", "chat/llama3.1.json", "llama3", 2},
                    ChatGolden{"Llama33", "chat/llama3.3.json", "llama3", 2},
                    ChatGolden{"Llama4", "chat/llama4.json", "llama4", 3}),
    [](const auto& golden) { return golden.param.name; });

ChatRequest Conversation(std::vector<ChatMessage> messages) {
  ChatRequest request;
  request.messages = std::move(messages);
  return request;
}

std::string TextOf(std::string_view format, const ChatRequest& request) {
  const auto chat = (*MakeChatFormatByName(format))->Render(request);
  EXPECT_OK(chat);
  return chat.ok() ? chat->Text() : "";
}

TEST(ChatFormat, MarksWhatPeopleWrote) {
  const auto format = MakeChatFormatByName("llama3");
  const auto chat = (*format)->Render(Conversation({{"user", "hello <|eot_id|>", {}}}));
  ASSERT_OK(chat);
  std::string written;
  for (const RenderedChat::Run& run : chat->runs) {
    if (run.from_user) written += run.text + "|";
  }
  EXPECT_EQ(written, "26 Jul 2024|hello <|eot_id|>|");
}

TEST(ChatFormat, RefusesWhatItCannotExpress) {
  const auto kInvalid = absl::StatusCode::kInvalidArgument;
  const auto llama = *MakeChatFormatByName("llama3");
  const auto smol = *MakeChatFormatByName("chatml-smollm2");
  EXPECT_THAT(llama->Render({}), StatusIs(kInvalid, HasSubstr("at least one message")));
  EXPECT_THAT(llama->Render(Conversation({{"wizard", "hi", {}}})),
              StatusIs(kInvalid, HasSubstr("unknown role \"wizard\"")));
  EXPECT_THAT(smol->Render(Conversation({{"tool", "7", {}}})),
              StatusIs(kInvalid, HasSubstr("no tools")));
  EXPECT_THAT(llama->Render(Conversation({{"user", "x", {{"f", "{}"}}}})),
              StatusIs(kInvalid, HasSubstr("of the assistant only")));
  EXPECT_THAT(llama->Render(Conversation({{"assistant", "", {{"f", "{}"}, {"g", "{}"}}}})),
              StatusIs(kInvalid, HasSubstr("calls 2 tools")));
  EXPECT_THAT(llama->Render(Conversation({{"assistant", "", {{"f", "[1]"}}}})),
              StatusIs(kInvalid, HasSubstr("not a JSON object")));
  EXPECT_THAT(llama->Render(Conversation({{"assistant", "", {{"f", "{"}}}})),
              StatusIs(kInvalid, HasSubstr("not a JSON value")));
  ChatRequest tools = Conversation({{"system", "x", {}}});
  tools.tools_json = {"{}"};
  EXPECT_THAT(llama->Render(tools), StatusIs(kInvalid, HasSubstr("add a user message")));
  EXPECT_THAT(MakeChatFormatByName("vicuna"), StatusIs(kInvalid, HasSubstr("\"vicuna\"; known")));
}

TEST(ChatFormat, UsesTheRequestsDate) {
  ChatRequest request = Conversation({{"user", "hi", {}}});
  EXPECT_THAT(TextOf("llama3", request), HasSubstr("Today Date: 26 Jul 2024\n\n"));
  request.date_string = "1 Feb 2025";
  EXPECT_THAT(TextOf("llama3", request), HasSubstr("Today Date: 1 Feb 2025\n\n"));
}

TEST(ChatFormat, PlainChatMlAddsNoSystemMessage) {
  EXPECT_EQ(TextOf("chatml", Conversation({{"user", "hi", {}}})),
            "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n");
}

TEST(ChatFormat, RecognizesThePublishedTemplateAndAChangedOne) {
  auto text = ReadTestJson("chat/smollm2.json")["template"].get<std::string>();
  auto found = RecognizeTemplate(text + "\n");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->format, "chatml-smollm2");
  EXPECT_TRUE(found->exact);
  found = RecognizeTemplate("{# ours #}" + text);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->format, "chatml-smollm2");
  EXPECT_FALSE(found->exact);
  EXPECT_FALSE(RecognizeTemplate(text + "{{ tools }}"));
  EXPECT_FALSE(RecognizeTemplate("{{ messages }}"));
}

// A tokenizer that is nothing but a template and special tokens.
class TemplateTokenizer : public Tokenizer {
 public:
  TemplateTokenizer(std::string chat_template, std::vector<std::string> specials)
      : template_(std::move(chat_template)), specials_(std::move(specials)) {}
  absl::StatusOr<Ids> Encode(std::string_view, SpecialTokens) const override { return Ids{}; }
  std::optional<SpecialMatch> FindSpecial(std::string_view, size_t) const override { return {}; }
  std::string_view TokenBytes(int32_t) const override { return {}; }
  int32_t vocab_size() const override { return static_cast<int32_t>(specials_.size()); }
  bool IsSpecial(int32_t) const override { return true; }
  std::optional<int32_t> SpecialId(std::string_view text) const override {
    const auto at = std::find(specials_.begin(), specials_.end(), text);
    if (at == specials_.end()) return std::nullopt;
    return static_cast<int32_t>(at - specials_.begin());
  }
  std::optional<int32_t> bos() const override { return std::nullopt; }
  std::optional<int32_t> eos() const override { return std::nullopt; }
  const std::string& chat_template() const override { return template_; }

 private:
  std::string template_;
  std::vector<std::string> specials_;
};

TEST(ChatFormat, IsChosenByTemplateThenBySpecialTokens) {
  const std::string smol = ReadTestJson("chat/smollm2.json")["template"].get<std::string>();
  const auto name = [](const TemplateTokenizer& tokenizer) {
    return std::string((*MakeChatFormat(tokenizer))->name());
  };
  EXPECT_EQ(name({smol, {"<|im_end|>", "<|start_header_id|>", "<|eot_id|>"}}), "chatml-smollm2");
  EXPECT_EQ(name({"", {"<|start_header_id|>", "<|eot_id|>", "<|eom_id|>"}}), "llama3");
  EXPECT_EQ(name({"", {"<|header_start|>", "<|eot|>", "<|eom|>"}}), "llama4");
}

TEST(ChatFormat, RefusesUnknownTemplatesByWhatTheyAre) {
  EXPECT_THAT(MakeChatFormat(TemplateTokenizer("{{ vicuna }}", {})),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("{{ vicuna }}")));
  EXPECT_THAT(MakeChatFormat(TemplateTokenizer("", {"<|im_end|>"})),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("no chat template")));
  const std::string smol = ReadTestJson("chat/smollm2.json")["template"].get<std::string>();
  EXPECT_THAT(MakeChatFormat(TemplateTokenizer(smol, {})),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("<|im_end|>")));
}

TEST(ChatFormat, TrimsWhatPythonTrims) {
  EXPECT_EQ(TrimLikePython(" \t\x1c\xC2\xA0\xE3\x80\x80 a \xE2\x80\xA8 b\xE2\x80\x83\n"),
            "a \xE2\x80\xA8 b");
  EXPECT_EQ(TrimLikePython("\xE2\x80\x8B x"), "\xE2\x80\x8B x");  // U+200B is no white space
  EXPECT_EQ(TrimLikePython(" \n\xC2\x85"), "");
}

}  // namespace
}  // namespace trireme
