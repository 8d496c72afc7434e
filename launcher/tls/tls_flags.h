// The flags by which commands learn of TLS. Paths only: a secret is never a word of a command line.
#pragma once

#include <string>
#include <vector>

#include "launcher/tls/pem_files.h"

namespace CLI {
class App;
}

namespace trireme {

// --tls-ca, --tls-certificate, --tls-key, --tls-server-name.
void AddTlsFlags(CLI::App& app, ClientTlsFiles& files);
// --tls-certificate, --tls-key, --tls-client-ca.
void AddTlsFlags(CLI::App& app, ServerTlsFiles& files);

// The same as words of a command line.
void AppendTlsFlags(const ClientTlsFiles& files, std::vector<std::string>& argv);
void AppendTlsFlags(const ServerTlsFiles& files, std::vector<std::string>& argv);

}  // namespace trireme
