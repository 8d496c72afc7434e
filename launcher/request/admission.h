// The door: what a client asked is checked once, here, and is immutable and trusted after.
// Everything that could make a request fail for a reason of its own is found before a group hears
// of it, with an INVALID_ARGUMENT that names the field, what was expected and what was found (never
// what people wrote).
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "launcher/auth/principal.h"
#include "launcher/request/limits.h"
#include "runtime/engine/request.h"
#include "runtime/text/chat_format.h"
#include "runtime/text/tokenizer.h"
#include "trireme/v1/inference.pb.h"

namespace trireme {

// What is served, as far as requests must know.
struct ServedModel {
  std::string name;
  int64_t vocabulary = 0;
  int64_t max_positions = 0;         // longest prompt + completion; 0: no group has said yet
  std::vector<int32_t> stop_tokens;  // the model's own
};

// A request that may run: enough to start it, or to replay it, anywhere.
struct AcceptedRequest {
  std::string id;  // for logs; unique among running requests
  // In runtime terms, all of it checked; what tells choices apart is set by ChoiceOf. Its seed was
  // drawn where the client gave none: a replay needs the same.
  Request request;
  int32_t choices = 1;  // completions of it
  std::string echo;     // what the text of each begins with
  // What the client gives it from now on; nothing: as long as it takes.
  std::optional<std::chrono::milliseconds> timeout;
  // Its place among what its key may take, left with the last copy; null: no key, no limits.
  std::shared_ptr<QuotaLease> lease;
};

// One of the completions, counted from 0. Only the first scores the prompt, which is the same.
Request ChoiceOf(const AcceptedRequest& accepted, int32_t choice);

// What holds where a request does not say, and what depends on who asks.
struct AdmissionDefaults {
  uint64_t seed = 0;
  std::string id;
  SpecialTokens special = SpecialTokens::kAsText;  // special-token text in a prompt
  int32_t max_logprobs = kMaxLogprobs;
};

// For a request that gives no seed.
uint64_t DrawSeed();

// Makes an admitted request its caller's: the tenant is the key's, whatever the request says, and
// the key's limits are asked for a place. RESOURCE_EXHAUSTED (load/refusal.h).
// A caller without a key (no quota), where none is asked for, is taken at the request's word.
absl::Status AdmitAs(const Principal& caller, AcceptedRequest& accepted);

// Takes values that are in range; names them "sampling.…" where they are not.
absl::Status CheckSampling(const SamplingParams& params);

// Without a tokenizer (nullptr) text cannot be asked for: prompts are ids, and there is no stop
// string.
absl::StatusOr<AcceptedRequest> AdmitGenerate(const v1::GenerateRequest& request,
                                              const ServedModel& model, const Tokenizer* tokenizer,
                                              const AdmissionDefaults& defaults);

// The conversation is rendered by `format`; what people wrote never becomes control tokens.
absl::StatusOr<AcceptedRequest> AdmitChat(const v1::ChatRequest& request, const ServedModel& model,
                                          const Tokenizer& tokenizer, const ChatFormat& format,
                                          const AdmissionDefaults& defaults);

}  // namespace trireme
