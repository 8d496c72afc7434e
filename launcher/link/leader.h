// What rank 0 does beside the engine under `trireme worker`: it keeps the group attached to its
// coordinator, submits what the coordinator sends, and reports tokens and progress.
//
// The coordinator may go away: then everything it asked for is cancelled (it cannot be told the
// outcome, and replays from its own journal), and the leader dials again, with a growing pause,
// until it is back or was away too long.
//
// Threads: the caller's, which writes, and `link-read`, which lives as long as one attachment.
#pragma once

#include <chrono>
#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "launcher/link/coordinator_link.h"
#include "runtime/engine/engine.h"

namespace trireme {

struct LeaderOptions {
  CoordinatorAddress coordinator;
  std::string group;  // name, unique among the coordinator's groups
  std::chrono::milliseconds heartbeat{250};
  std::chrono::milliseconds connect_timeout{5'000};  // of one attempt
  std::chrono::milliseconds away_timeout{60'000};    // of all attempts together
  std::chrono::milliseconds first_pause{100};        // doubles with each attempt, up to max_pause
  std::chrono::milliseconds max_pause{2'000};
};

// What a group says of itself.
struct GroupIdentity {
  std::string model;                 // name for people
  std::string model_identity;        // hash of what is served
  std::string tokenizer_hash;        // TokenizerHash(); "" is not checked
  std::vector<int32_t> stop_tokens;  // the model's own
  std::vector<std::string> hosts;    // one a rank
  std::string mesh;                  // for people
  // The last steps as a Chrome trace, for those who ask. Called on the writing thread.
  std::function<std::string()> trace = [] { return std::string(); };
};

// Serves until it is told to leave: OK after the coordinator's Shutdown or a request through
// `stop`. Otherwise the error that ended it: the engine's (the group is lost), UNAVAILABLE (the
// coordinator was away for away_timeout), or the coordinator's refusal (FAILED_PRECONDITION,
// INVALID_ARGUMENT). The engine is left running.
absl::Status RunLeader(const LeaderOptions& options, const GroupIdentity& identity, Engine& engine,
                       std::stop_token stop);

}  // namespace trireme
