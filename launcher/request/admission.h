// The door: what a client asked is checked once, here, and is immutable and trusted after.
// Everything that could make a request fail for a reason of its own is found before a group hears
// of it, with an INVALID_ARGUMENT that names the field, what was expected and what was found (never
// what people wrote).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/step/step_plan.h"
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
  std::string id;               // for logs; unique among running requests
  std::vector<int32_t> prompt;  // at least one token, all inside the vocabulary
  int32_t max_tokens = 0;
  SamplingParams
      sampling;  // with a seed, drawn where the client gave none: a replay needs the same
  std::vector<int32_t> stop_tokens;
  int32_t num_logprobs = -1;  // alternatives to report with each token; -1: no log-probabilities
};

// `fallback_seed` is used where the request names no seed, `fallback_id` where it names no id.
struct AdmissionDefaults {
  uint64_t seed = 0;
  std::string id;
};

absl::StatusOr<SamplingParams> AdmitSampling(const v1::SamplingParams& sampling,
                                             uint64_t fallback_seed);

absl::StatusOr<AcceptedRequest> AdmitGenerate(const v1::GenerateRequest& request,
                                              const ServedModel& model, const Tokenizer& tokenizer,
                                              const AdmissionDefaults& defaults);

// The conversation is rendered by `format`; what people wrote never becomes control tokens.
absl::StatusOr<AcceptedRequest> AdmitChat(const v1::ChatRequest& request, const ServedModel& model,
                                          const Tokenizer& tokenizer, const ChatFormat& format,
                                          const AdmissionDefaults& defaults);

}  // namespace trireme
