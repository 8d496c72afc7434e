#include "launcher/tls/tls_flags.h"

#include <CLI/CLI.hpp>
#include <initializer_list>
#include <utility>

namespace trireme {
namespace {

void AppendNamed(std::initializer_list<std::pair<const char*, const std::string*>> flags,
                 std::vector<std::string>& argv) {
  for (const auto& [flag, value] : flags) {
    if (!value->empty()) argv.insert(argv.end(), {flag, *value});
  }
}

}  // namespace

void AddTlsFlags(CLI::App& app, ClientTlsFiles& files) {
  app.add_option("--tls-ca", files.ca,
                 "PEM file of the authorities whose servers are trusted (default: no TLS)");
  app.add_option("--tls-certificate", files.certificate,
                 "PEM file to show to a server that asks for a certificate");
  app.add_option("--tls-key", files.key, "PEM file of that certificate's key");
  app.add_option("--tls-server-name", files.server_name,
                 "what the server's certificate is for (default: the address that is dialled)");
}

void AddTlsFlags(CLI::App& app, ServerTlsFiles& files) {
  app.add_option("--tls-certificate", files.certificate,
                 "PEM file of the server's certificate and its chain (default: no TLS)");
  app.add_option("--tls-key", files.key, "PEM file of that certificate's key, of mode 0600");
  app.add_option("--tls-client-ca", files.client_ca,
                 "PEM file of the authorities that every peer needs a certificate from");
}

void AppendTlsFlags(const ClientTlsFiles& files, std::vector<std::string>& argv) {
  AppendNamed({{"--tls-ca", &files.ca},
               {"--tls-certificate", &files.certificate},
               {"--tls-key", &files.key},
               {"--tls-server-name", &files.server_name}},
              argv);
}

void AppendTlsFlags(const ServerTlsFiles& files, std::vector<std::string>& argv) {
  AppendNamed({{"--tls-certificate", &files.certificate},
               {"--tls-key", &files.key},
               {"--tls-client-ca", &files.client_ca}},
              argv);
}

}  // namespace trireme
