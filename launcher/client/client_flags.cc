#include "launcher/client/client_flags.h"

#include <CLI/CLI.hpp>

#include "launcher/tls/tls_flags.h"

namespace trireme {

void AddClientFlags(CLI::App& app, ClientOptions& options) {
  app.add_option("--server", options.server, "host:port of the coordinator")->capture_default_str();
  AddTlsFlags(app, options.tls);
}

}  // namespace trireme
