// Prompts in, completions out, without a coordinator: what `trireme generate` and `trireme
// perplexity` run on the leader. All prompts are submitted as the engine takes them; completions
// come back in the order of the input.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "runtime/engine/engine.h"

namespace trireme {

// A finished request, or one so far.
struct Completion {
  std::vector<SampledToken> tokens;         // stop token included
  std::vector<SampledToken> prompt_scores;  // of prompt tokens 1…, when asked for
  FinishReason finish = FinishReason::kNone;
  absl::Status error;
};

struct BatchSink {
  // A token of the first request that has not been reported done yet; in order.
  std::function<void(size_t index, const SampledToken& token)> on_token;
  // Once a request, in the order of the input.
  std::function<void(size_t index, const Completion& completion)> on_done;
};

// Both callbacks run on the caller's thread. Request ids are set here. Returns the engine's error
// if the group is lost; a single request's error is in its Completion.
absl::Status RunBatch(Engine& engine, std::vector<Request> requests, const BatchSink& sink);

}  // namespace trireme
