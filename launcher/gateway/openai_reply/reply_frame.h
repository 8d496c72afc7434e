// What every event and every body of a reply begins and ends with.
#pragma once

#include <string>
#include <utility>

#include "launcher/gateway/openai_reply/reply_writer.h"
#include "launcher/gateway/openai_request/json_fields.h"

namespace trireme {

class ReplyFrame {
 public:
  ReplyFrame(ReplyForm form, ReplySubject subject)
      : form_(std::move(form)), subject_(std::move(subject)) {}

  const ReplyForm& form() const { return form_; }
  const ReplySubject& subject() const { return subject_; }
  size_t choices() const {
    return subject_.prompts.size() * static_cast<size_t>(subject_.choices_per_prompt);
  }

  // Of the completions.
  void CountTokens(int64_t tokens) { completion_tokens_ += tokens; }

  // An event of one choice.
  std::string Event(std::string_view object, Json choice) const;
  // The end of a stream.
  std::string LastEvents(std::string_view object) const;
  std::string Body(std::string_view object, Json choices) const;

 private:
  Json Head(std::string_view object, Json choices) const;
  Json Usage() const;

  const ReplyForm form_;
  const ReplySubject subject_;
  int64_t completion_tokens_ = 0;
};

// The word of a finished choice; null while it goes on.
Json FinishWord(v1::FinishReason reason);

}  // namespace trireme
