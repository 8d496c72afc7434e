// The one place where calls are let into the gRPC server: every method of every service, those of
// gRPC itself (health, reflection) and those that do not exist, by the key or token among a call's
// metadata. gRPC asks the door before a service hears of the call, so that a service that is added
// later stands behind it too.
//
// Threads: gRPC's; nothing blocks.
#pragma once

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/status.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "launcher/auth/authenticator.h"
#include "launcher/request/admission.h"

namespace trireme {

struct DoorOptions {
  // Keys that clients must have; "": none is asked for.
  std::string keys_file;
  // Whose first line worker groups must have; "": groups may join without where there are no keys.
  std::string join_token_file;
  // Of each call that is not let in; must not block.
  std::function<void(std::string_view method, const absl::Status& status)> on_refusal =
      [](std::string_view, const absl::Status&) {};
};

class Door {
 public:
  // The errors of Authenticator::Open and ReadSecret; INVALID_ARGUMENT: keys, and no way to join.
  static absl::StatusOr<std::unique_ptr<Door>> Make(const DoorOptions& options);

  // For ServerBuilder::AddListeningPort: the same credentials (null: of an unencrypted port), with
  // this door behind them. The door must outlive the server.
  std::shared_ptr<grpc::ServerCredentials> Guard(
      std::shared_ptr<grpc::ServerCredentials> credentials);

  // Whether a call of this method may go on.
  absl::Status Check(std::string_view method, const Credentials& credentials);

  // For a call that was let in: makes the request its caller's, and takes the place that the
  // caller's limits leave it, or a refusal (load/refusal.h). Without keys a request is whose it
  // says it is.
  absl::Status Admit(const grpc::CallbackServerContext& context, AcceptedRequest& accepted);

  // Null: no key is asked for.
  Authenticator* keys() const { return keys_.get(); }

 private:
  Door() = default;

  absl::Status Judge(std::string_view method, const Credentials& credentials);
  absl::Status CheckJoin(const Credentials& credentials) const;

  std::unique_ptr<Authenticator> keys_;
  std::string join_token_file_;
  std::function<void(std::string_view, const absl::Status&)> on_refusal_;
};

}  // namespace trireme
