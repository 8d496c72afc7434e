#include "launcher/gateway/openai_reply/reply_frame.h"

namespace trireme {
namespace {

std::string AsEvent(const Json& json) { return "data: " + Dump(json) + "\n\n"; }

}  // namespace

Json FinishWord(v1::FinishReason reason) {
  if (reason == v1::FINISH_REASON_STOP) return "stop";
  if (reason == v1::FINISH_REASON_LENGTH) return "length";
  return nullptr;
}

Json ReplyFrame::Head(std::string_view object, Json choices) const {
  return {{"id", subject_.id},
          {"object", std::string(object)},
          {"created", subject_.created},
          {"model", subject_.model},
          {"choices", std::move(choices)}};
}

Json ReplyFrame::Usage() const {
  return {{"prompt_tokens", subject_.prompt_tokens},
          {"completion_tokens", completion_tokens_},
          {"total_tokens", subject_.prompt_tokens + completion_tokens_}};
}

std::string ReplyFrame::Event(std::string_view object, Json choice) const {
  Json choices = Json::array();
  choices.push_back(std::move(choice));
  Json event = Head(object, std::move(choices));
  if (form_.usage_in_every_event) {
    event["usage"] = Usage();
  } else if (form_.include_usage) {
    event["usage"] = nullptr;
  }
  return AsEvent(event);
}

std::string ReplyFrame::LastEvents(std::string_view object) const {
  std::string events;
  if (form_.include_usage) {
    Json event = Head(object, Json::array());
    event["usage"] = Usage();
    events = AsEvent(event);
  }
  return events + "data: [DONE]\n\n";
}

std::string ReplyFrame::Body(std::string_view object, Json choices) const {
  Json body = Head(object, std::move(choices));
  body["usage"] = Usage();
  return Dump(body);
}

}  // namespace trireme
