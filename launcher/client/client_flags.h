// The flags by which every command that calls a coordinator learns whom to call, and how.
#pragma once

#include "launcher/client/inference_client.h"

namespace CLI {
class App;
}

namespace trireme {

// --server, --api-key-file (a key may also stand in TRIREME_API_KEY of the environment), and those
// of TLS.
void AddClientFlags(CLI::App& app, ClientOptions& options);

}  // namespace trireme
