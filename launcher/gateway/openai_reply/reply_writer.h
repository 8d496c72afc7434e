// From the pieces of completions, as they come, to the reply that OpenAI's clients read:
// server-sent events, or one body at the end. One per call; knows no sockets and no threads.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "launcher/gateway/openai_request/request_reader.h"
#include "runtime/text/tokenizer.h"
#include "trireme/v1/inference.pb.h"

namespace trireme {

// What the reply says of the call.
struct ReplySubject {
  std::string id;
  std::string model;
  int64_t created = 0;        // seconds since 1970
  int64_t prompt_tokens = 0;  // of all prompts
  int32_t choices_per_prompt = 1;
  // Of each prompt.
  struct Prompt {
    std::string echo;  // the completion's text begins with it
    int32_t first_token = 0;
    bool scored = false;  // its log-probabilities come before the completion's
  };
  std::vector<Prompt> prompts;
};

class ReplyWriter {
 public:
  virtual ~ReplyWriter() = default;

  // A piece of one choice; choices of all prompts are counted on. What a stream sends for it is
  // appended to `events`.
  virtual void Add(int32_t choice, const v1::GenerateResponse& piece, std::string& events) = 0;
  // After the last piece: the last events of a stream, or the body.
  virtual std::string End() = 0;
};

// `tokenizer` must outlive it.
std::unique_ptr<ReplyWriter> MakeChatWriter(const Tokenizer& tokenizer, ReplyForm form,
                                            ReplySubject subject);
std::unique_ptr<ReplyWriter> MakeCompletionsWriter(const Tokenizer& tokenizer, ReplyForm form,
                                                   ReplySubject subject);

}  // namespace trireme
