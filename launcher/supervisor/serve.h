// `trireme serve`: starts the coordinator and the groups of a configuration, says when they are
// ready, restarts a lost group and says which rank died, and stops all of them in bounded time.
//
// One thread and one poll loop, without gRPC: the coordinator reports through a pipe, children's
// ends and signals come as descriptors. What it prints is for operators, on stderr.
//
// Stopping, in order: the coordinator gets SIGTERM, refuses new requests, lets running ones finish
// for drain_timeout_ms, and tells the groups to leave; what is still there kStopGrace later gets
// SIGTERM, then SIGKILL. A second signal skips the waiting.
#pragma once

#include <string>

#include "launcher/config/serve_config.h"

namespace trireme {

struct ServeOptions {
  std::string trireme;  // path of this program
  ServeConfigFile config;
};

// Until told to stop by SIGTERM or SIGINT (kExitOk, or kExitStopTimedOut where something had to be
// killed), or until it cannot go on (kExitStartRefused, kExitGroupLost, kExitCoordinatorDied,
// kExitFailed).
int Serve(ServeOptions options);

}  // namespace trireme
