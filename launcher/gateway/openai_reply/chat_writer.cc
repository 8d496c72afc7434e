#include <optional>

#include "absl/strings/str_format.h"
#include "launcher/gateway/openai_reply/logprobs_json.h"
#include "launcher/gateway/openai_reply/reply_frame.h"
#include "launcher/gateway/openai_reply/reply_writer.h"
#include "runtime/text/tools/tool_calls.h"

namespace trireme {
namespace {

constexpr std::string_view kEventObject = "chat.completion.chunk";
constexpr std::string_view kBodyObject = "chat.completion";

class ChatWriter final : public ReplyWriter {
 public:
  ChatWriter(const Tokenizer& tokenizer, ReplyForm form, ReplySubject subject)
      : tokenizer_(tokenizer),
        frame_(std::move(form), std::move(subject)),
        choices_(frame_.choices()) {
    if (frame_.form().tools.empty()) return;
    for (Choice& choice : choices_) choice.parser.emplace(frame_.form().tools);
  }

  void Add(int32_t index, const v1::GenerateResponse& piece, std::string& events) override {
    Choice& choice = choices_[static_cast<size_t>(index)];
    frame_.CountTokens(piece.tokens_size());
    const bool finished = piece.finish_reason() != v1::FINISH_REASON_UNSPECIFIED;
    ToolCallParser::Found found = Understand(piece.text(), finished, choice);
    Json calls = Json::array();
    for (const ChatToolCall& call : found.calls) calls.push_back(CallJson(index, choice, call));
    Json logprobs;
    if (frame_.form().logprobs) {
      logprobs["content"] = Json::array();
      for (const v1::TokenLogprobs& one : piece.logprobs()) {
        logprobs["content"].push_back(ChatLogprob(tokenizer_, one));
      }
    }
    Json finish = FinishWord(piece.finish_reason());
    if (finish == "stop" && choice.calls > 0) finish = "tool_calls";
    if (frame_.form().stream) {
      Stream(index, choice, {std::move(found.content), std::move(calls), std::move(logprobs)},
             std::move(finish), events);
      return;
    }
    choice.content += found.content;
    for (Json& call : calls) choice.tool_calls.push_back(std::move(call));
    for (Json& one : logprobs["content"]) choice.logprobs.push_back(std::move(one));
    if (finished) choice.finish = std::move(finish);
  }

  std::string End() override {
    if (frame_.form().stream) return frame_.LastEvents(kEventObject);
    Json choices = Json::array();
    for (size_t i = 0; i < choices_.size(); ++i) {
      Choice& choice = choices_[i];
      Json message = {{"role", "assistant"}, {"content", std::move(choice.content)}};
      message["refusal"] = nullptr;
      if (!choice.tool_calls.empty()) {
        if (message["content"] == "") message["content"] = nullptr;
        message["tool_calls"] = std::move(choice.tool_calls);
      }
      Json logprobs;
      if (frame_.form().logprobs) logprobs["content"] = std::move(choice.logprobs);
      choices.push_back({{"index", i},
                         {"message", std::move(message)},
                         {"logprobs", std::move(logprobs)},
                         {"finish_reason", std::move(choice.finish)}});
    }
    return frame_.Body(kBodyObject, std::move(choices));
  }

 private:
  struct Choice {
    std::optional<ToolCallParser> parser;  // where there are tools
    bool begun = false;
    int calls = 0;
    // Of a body.
    std::string content;
    Json tool_calls = Json::array();
    Json logprobs = Json::array();
    Json finish;
  };
  struct Delta {
    std::string content;
    Json calls;
    Json logprobs;
  };

  static ToolCallParser::Found Understand(const std::string& text, bool finished, Choice& choice) {
    if (!choice.parser.has_value()) return {.content = text, .calls = {}};
    ToolCallParser::Found found = choice.parser->Push(text);
    if (finished) {
      ToolCallParser::Found rest = choice.parser->Finish();
      found.content += rest.content;
      found.calls.insert(found.calls.end(), rest.calls.begin(), rest.calls.end());
    }
    return found;
  }

  Json CallJson(int32_t index, Choice& choice, const ChatToolCall& call) const {
    const int number = choice.calls++;
    Json json;
    if (frame_.form().stream) json["index"] = number;
    // Unique among the calls of a conversation, as the reply's id is.
    json["id"] = absl::StrFormat("call_%s_%d_%d", frame_.subject().id, index, number);
    json["type"] = "function";
    json["function"] = {{"name", call.name}, {"arguments", call.arguments_json}};
    return json;
  }

  std::string Event(int32_t index, Json delta, Json logprobs, Json finish) const {
    return frame_.Event(kEventObject, {{"index", index},
                                       {"delta", std::move(delta)},
                                       {"logprobs", std::move(logprobs)},
                                       {"finish_reason", std::move(finish)}});
  }

  void Stream(int32_t index, Choice& choice, Delta delta, Json finish, std::string& events) const {
    if (!std::exchange(choice.begun, true)) {
      events += Event(index, {{"role", "assistant"}, {"content", ""}}, nullptr, nullptr);
    }
    const bool scored = !delta.logprobs.is_null() && !delta.logprobs["content"].empty();
    if (!delta.content.empty() || scored) {
      events +=
          Event(index, {{"content", std::move(delta.content)}}, std::move(delta.logprobs), nullptr);
    }
    if (!delta.calls.empty()) {
      events += Event(index, {{"tool_calls", std::move(delta.calls)}}, nullptr, nullptr);
    }
    if (!finish.is_null()) events += Event(index, Json::object(), nullptr, std::move(finish));
  }

  const Tokenizer& tokenizer_;
  ReplyFrame frame_;
  std::vector<Choice> choices_;
};

}  // namespace

std::unique_ptr<ReplyWriter> MakeChatWriter(const Tokenizer& tokenizer, ReplyForm form,
                                            ReplySubject subject) {
  return std::make_unique<ChatWriter>(tokenizer, std::move(form), std::move(subject));
}

}  // namespace trireme
