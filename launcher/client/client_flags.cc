#include "launcher/client/client_flags.h"

#include <CLI/CLI.hpp>
#include <cstdlib>

#include "launcher/tls/tls_flags.h"

namespace trireme {

void AddClientFlags(CLI::App& app, ClientOptions& options) {
  app.add_option("--server", options.server, "host:port of the coordinator")->capture_default_str();
  if (const char* key = std::getenv("TRIREME_API_KEY"); key != nullptr) options.api_key = key;
  app.add_option("--api-key-file", options.api_key_file,
                 "whose first line is the API key (default: TRIREME_API_KEY, if set)");
  AddTlsFlags(app, options.tls);
}

}  // namespace trireme
