// The completions of one HTTP call on their way to its client: each prompt is a request of the
// dispatcher with a mailbox of its own, all of them are one reply.
//
// It lives as long as its exchange waits for it. What it does after Start happens in the exchange's
// producer, one thing at a time: take what came, write it. A client that is gone, and the first
// error of one prompt, cancel what still runs.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "launcher/coordinator/dispatcher.h"
#include "launcher/gateway/http/exchange.h"
#include "launcher/gateway/openai_reply/reply_writer.h"
#include "launcher/service/response_builder.h"
#include "launcher/service/server.h"

namespace trireme {

class CompletionCall : public std::enable_shared_from_this<CompletionCall> {
 public:
  struct Parts {
    ServedParts served;
    std::shared_ptr<Exchange> exchange;
    ReplyForm form;
    std::string id;  // of the reply
  };

  // Replies with an error, or gives the requests to the dispatcher, and the exchange its producer.
  static void Start(Parts parts, const std::vector<AcceptedRequest>& requests,
                    std::unique_ptr<ReplyWriter> writer);

 private:
  struct Part {
    int32_t first_choice = 0;
    std::shared_ptr<StreamMailbox> mailbox;
    std::unique_ptr<ResponseBuilder> builder;
    uint64_t call = 0;
    bool ended = false;
  };

  CompletionCall(Parts parts, std::unique_ptr<ReplyWriter> writer)
      : parts_(std::move(parts)), writer_(std::move(writer)) {}

  absl::Status Accept(const std::vector<AcceptedRequest>& requests);
  void Pump();
  // Writes what one prompt's completions have come to.
  absl::Status PumpPart(Part& part, std::string& events);
  void Fail(const absl::Status& error);
  void Cancel();

  const Parts parts_;
  const std::unique_ptr<ReplyWriter> writer_;
  std::vector<Part> prompts_;
  bool ended_ = false;
};

}  // namespace trireme
