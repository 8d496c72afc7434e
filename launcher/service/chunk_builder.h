// From token events to what a client reads: text as whole code points, ids, log-probabilities, and
// in the last chunk the reason and the usage. One per request; knows no gRPC.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "launcher/coordinator/journal.h"
#include "runtime/text/detokenizer.h"
#include "trireme/v1/inference.pb.h"

namespace trireme {

class ChunkBuilder {
 public:
  struct Options {
    std::string request_id;
    size_t prompt_tokens = 0;
    bool logprobs = false;
  };
  // `tokenizer` must outlive this.
  ChunkBuilder(const Tokenizer& tokenizer, Options options);

  // Appends an event to `chunk` (a fresh one, or one that is not written yet).
  void Append(const StreamEvent& event, v1::GenerateResponse& chunk);

  // Set by the event that ended the request: OK, or why it failed.
  const std::optional<absl::Status>& end() const { return end_; }

 private:
  const Options options_;
  Detokenizer detokenizer_;
  int32_t completion_tokens_ = 0;
  std::optional<absl::Status> end_;
};

}  // namespace trireme
