// OpenAI's requests → ours: JSON in, the same messages that gRPC clients send out, with how the
// reply is to be formed beside them. Only types and forms are checked here; what values mean is
// admission's business (launcher/request), for every client alike.
//
// Fields that OpenAI does not have, under the names that other servers gave them: top_k, min_p,
// repetition_penalty, min_tokens, ignore_eos, stop_token_ids, priority.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "trireme/v1/inference.pb.h"

namespace trireme {

// How a reply is formed.
struct ReplyForm {
  bool stream = false;
  bool include_usage = false;  // of a stream: in one more event at its end
  bool usage_in_every_event = false;
  bool logprobs = false;
  bool score_only = false;         // the completion itself was not asked for (max_tokens 0)
  std::vector<std::string> tools;  // names of what may be called; none: text is only text
};

struct ChatCall {
  v1::ChatRequest request;
  ReplyForm form;
};
absl::StatusOr<ChatCall> ReadChatCall(std::string_view body);

struct CompletionsCall {
  std::vector<v1::GenerateRequest> requests;  // one a prompt, at least one
  ReplyForm form;
};
absl::StatusOr<CompletionsCall> ReadCompletionsCall(std::string_view body);

inline constexpr size_t kMaxPrompts = 128;  // of one call

}  // namespace trireme
