// TLS for the gRPC links: clients to the coordinator, and leaders to it. gRPC looks at the files
// again each second, so that a renewed certificate is used by the next connection, and running ones
// go on.
#pragma once

#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>

#include <memory>

#include "absl/status/statusor.h"
#include "launcher/tls/pem_files.h"

namespace trireme {

// Without TLS where no certificate is named. Errors of CheckTlsFiles.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(
    const ServerTlsFiles& files);

// Without TLS where no authority is named. Errors of CheckTlsFiles.
absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> MakeChannelCredentials(
    const ClientTlsFiles& files);

}  // namespace trireme
