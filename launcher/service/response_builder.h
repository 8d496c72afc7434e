// From the token events of a call to what its client reads: for each choice, text as whole code
// points, ids, log-probabilities and the reason of its end; in the last chunk the usage. One per
// call; knows no gRPC.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "launcher/coordinator/journal.h"
#include "launcher/request/completion_text.h"
#include "trireme/v1/inference.pb.h"

namespace trireme {

class ResponseBuilder {
 public:
  // `tokenizer` must outlive this.
  ResponseBuilder(const Tokenizer& tokenizer, const AcceptedRequest& accepted);

  // Of a stream: takes events while they are of one choice and a message has room for them, and
  // leaves `chunk`, an empty message, empty where there are none.
  void FillChunk(StreamMailbox& mailbox, v1::GenerateResponse& chunk);
  // Of a unary call: takes every event there is.
  void FillWhole(StreamMailbox& mailbox, v1::GenerateResponse& response);

  // Set by the event that ended the call: OK, or why it failed.
  const std::optional<absl::Status>& end() const { return end_; }

 private:
  struct Choice {
    CompletionText text;
    bool begun = false;
  };

  std::optional<StreamEvent> Take(StreamMailbox& mailbox);
  void Append(const StreamEvent& event, v1::GenerateResponse& message);
  void AppendToken(const StreamEvent& event, v1::GenerateResponse& message);
  void AppendUsage(v1::GenerateResponse& message) const;

  const std::string request_id_;
  const std::string echo_;
  const size_t prompt_tokens_;
  const bool logprobs_;
  std::vector<Choice> choices_;
  std::optional<StreamEvent> held_;  // of another choice than the last chunk
  size_t ended_ = 0;                 // choices
  int32_t completion_tokens_ = 0;
  int64_t cached_tokens_ = 0;  // of the prompt
  std::optional<absl::Status> end_;
};

}  // namespace trireme
