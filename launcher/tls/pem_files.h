// The files that TLS needs at either end of a link, checked before they are used: a library that
// meets a wrong one says so in its own log, much later, or only refuses every handshake.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace trireme {

// Of the end that listens. Paths of PEM files.
struct ServerTlsFiles {
  std::string certificate;  // the server's own first, then those that lead to its root; "": no TLS
  std::string key;          // nobody's but its owner's to read
  std::string client_ca;    // whoever has no certificate from it is refused; "": none is asked for
};

// Of the end that dials.
struct ClientTlsFiles {
  std::string ca;           // whose servers are trusted; "": no TLS
  std::string certificate;  // where the server asks for one; "": none is shown
  std::string key;
  std::string server_name;  // what the server's certificate must be for; "": the address dialled
};

// OK where TLS is off. INVALID_ARGUMENT: files that are missing, do not belong together, or are of
// no use; FAILED_PRECONDITION: others may read the key. A certificate whose time is over, or
// nearly, is no error here: the log says so, and the file may be replaced while it is in use.
absl::Status CheckTlsFiles(const ServerTlsFiles& files);
absl::Status CheckTlsFiles(const ClientTlsFiles& files);

}  // namespace trireme
