#include <optional>

#include "launcher/gateway/openai_reply/logprobs_json.h"
#include "launcher/gateway/openai_reply/reply_frame.h"
#include "launcher/gateway/openai_reply/reply_writer.h"

namespace trireme {
namespace {

constexpr std::string_view kObject = "text_completion";  // of events and bodies alike

class CompletionsWriter final : public ReplyWriter {
 public:
  CompletionsWriter(const Tokenizer& tokenizer, ReplyForm form, ReplySubject subject)
      : tokenizer_(tokenizer),
        frame_(std::move(form), std::move(subject)),
        choices_(frame_.choices()),
        scores_(frame_.subject().prompts.size()) {
    for (size_t i = 0; i < scores_.size(); ++i) {
      const ReplySubject::Prompt& prompt = frame_.subject().prompts[i];
      if (prompt.scored) scores_[i].AddFirst(tokenizer_, prompt.first_token);
    }
  }

  void Add(int32_t index, const v1::GenerateResponse& piece, std::string& events) override {
    Choice& choice = choices_[static_cast<size_t>(index)];
    LegacyLogprobs& scores = ScoresOf(index);
    for (const v1::TokenLogprobs& score : piece.prompt_logprobs()) scores.Add(tokenizer_, score);
    std::string text = piece.text();
    if (frame_.form().score_only) {
      text = choice.begun ? "" : PromptOf(index).echo;
    } else {
      frame_.CountTokens(piece.tokens_size());
      for (const v1::TokenLogprobs& logprobs : piece.logprobs()) {
        choice.logprobs.Add(tokenizer_, logprobs);
      }
    }
    const bool has_tokens = piece.tokens_size() > 0 || !text.empty();
    choice.begun = choice.begun || has_tokens;
    Json finish = FinishWord(piece.finish_reason());
    if (frame_.form().score_only && finish == "stop") finish = "length";
    if (!frame_.form().stream) {
      choice.text += text;
      if (!finish.is_null()) choice.finish = std::move(finish);
      return;
    }
    std::optional<Json> logprobs = LogprobsOfEvent(index, choice);
    if (text.empty() && !logprobs.has_value() && finish.is_null()) return;
    events += frame_.Event(kObject, {{"index", index},
                                     {"text", std::move(text)},
                                     {"logprobs", std::move(logprobs).value_or(Json())},
                                     {"finish_reason", std::move(finish)}});
  }

  std::string End() override {
    if (frame_.form().stream) return frame_.LastEvents(kObject);
    Json choices = Json::array();
    for (size_t i = 0; i < choices_.size(); ++i) {
      const auto index = static_cast<int32_t>(i);
      Json logprobs;
      if (frame_.form().logprobs) {
        LegacyLogprobs all = ScoresOf(index);
        all.Append(choices_[i].logprobs);
        logprobs = all.Take();
      }
      choices.push_back({{"index", i},
                         {"text", std::move(choices_[i].text)},
                         {"logprobs", std::move(logprobs)},
                         {"finish_reason", std::move(choices_[i].finish)}});
    }
    return frame_.Body(kObject, std::move(choices));
  }

 private:
  struct Choice {
    bool begun = false;
    std::string text;
    Json finish;
    LegacyLogprobs logprobs;
  };

  size_t PromptIndex(int32_t index) const {
    return static_cast<size_t>(index / frame_.subject().choices_per_prompt);
  }
  const ReplySubject::Prompt& PromptOf(int32_t index) const {
    return frame_.subject().prompts[PromptIndex(index)];
  }
  LegacyLogprobs& ScoresOf(int32_t index) { return scores_[PromptIndex(index)]; }

  // What is to be said with an event; a prompt's scores come with its first choice.
  std::optional<Json> LogprobsOfEvent(int32_t index, Choice& choice) {
    if (!frame_.form().logprobs) return std::nullopt;
    LegacyLogprobs& scores = ScoresOf(index);
    if (index % frame_.subject().choices_per_prompt == 0 && !scores.empty()) {
      return scores.Take();
    }
    if (choice.logprobs.empty()) return std::nullopt;
    return choice.logprobs.Take();
  }

  const Tokenizer& tokenizer_;
  ReplyFrame frame_;
  std::vector<Choice> choices_;
  std::vector<LegacyLogprobs> scores_;  // of prompts
};

}  // namespace

std::unique_ptr<ReplyWriter> MakeCompletionsWriter(const Tokenizer& tokenizer, ReplyForm form,
                                                   ReplySubject subject) {
  return std::make_unique<CompletionsWriter>(tokenizer, std::move(form), std::move(subject));
}

}  // namespace trireme
