// absl::Status ↔ grpc::Status: the codes are the same numbers. Errors of ours carry details.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/status.h>

#include <string>

#include "absl/status/status.h"
#include "launcher/load/refusal.h"
#include "launcher/service/errors/error_details.h"

namespace trireme {

inline grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return grpc::Status(static_cast<grpc::StatusCode>(status.raw_code()),
                      std::string(status.message()), ErrorDetails(status));
}

// Before a call ends: a refusal says when to try again, as trailing metadata. gRPC's own clients,
// where they are set to try again, go by grpc-retry-pushback-ms.
inline void AddRefusal(const absl::Status& status, grpc::CallbackServerContext& context) {
  const auto retry_after = RetryAfterOf(status);
  const auto reason = ReasonOf(status);
  if (!retry_after.has_value() || !reason.has_value()) return;
  context.AddTrailingMetadata("retry-after", std::to_string(retry_after->count()));
  context.AddTrailingMetadata("grpc-retry-pushback-ms",
                              std::to_string(retry_after->count() * 1000));
  context.AddTrailingMetadata("refusal-reason", std::string(NameOf(*reason)));
}

inline absl::Status FromGrpc(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

}  // namespace trireme
