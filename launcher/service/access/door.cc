#include "launcher/service/access/door.h"

#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <grpcpp/security/auth_metadata_processor.h>

#include <map>
#include <utility>

#include "launcher/auth/secret.h"
#include "launcher/service/grpc_status.h"
#include "runtime/base/check.h"
#include "runtime/base/log.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

constexpr std::string_view kPathKey = ":path";
constexpr std::string_view kAuthorizationKey = "authorization";
constexpr std::string_view kApiKeyKey = "x-api-key";

std::string_view View(const grpc_slice& slice) {
  return {reinterpret_cast<const char*>(GRPC_SLICE_START_PTR(slice)), GRPC_SLICE_LENGTH(slice)};
}

using MetadataMap = std::multimap<grpc::string_ref, grpc::string_ref>;

std::string_view ValueOf(const MetadataMap& metadata, std::string_view key) {
  const auto found = metadata.find(grpc::string_ref(key.data(), key.size()));
  if (found == metadata.end()) return "";
  return {found->second.data(), found->second.size()};
}

Credentials CredentialsIn(const MetadataMap& metadata) {
  return {.authorization = ValueOf(metadata, kAuthorizationKey),
          .api_key = ValueOf(metadata, kApiKeyKey)};
}

// For credentials that gRPC's C++ library lets us guard.
class DoorProcessor final : public grpc::AuthMetadataProcessor {
 public:
  explicit DoorProcessor(Door& door) : door_(door) {}
  bool IsBlocking() const override { return false; }
  grpc::Status Process(const InputMetadata& metadata, grpc::AuthContext*, OutputMetadata*,
                       OutputMetadata*) override {
    const std::string_view method = ValueOf(metadata, kPathKey);
    return ToGrpc(door_.Check(method, CredentialsIn(metadata)));
  }

 private:
  Door& door_;
};

void Process(void* door, grpc_auth_context*, const grpc_metadata* metadata, size_t count,
             grpc_process_auth_metadata_done_cb done, void* user_data) {
  std::string_view method;
  Credentials credentials;
  for (size_t i = 0; i < count; ++i) {
    const std::string_view key = View(metadata[i].key);
    const std::string_view value = View(metadata[i].value);
    // The first of each, as ValueOf.
    if (key == kPathKey && method.empty()) method = value;
    if (key == kAuthorizationKey && credentials.authorization.empty()) {
      credentials.authorization = value;
    }
    if (key == kApiKeyKey && credentials.api_key.empty()) credentials.api_key = value;
  }
  const absl::Status status = static_cast<Door*>(door)->Check(method, credentials);
  done(user_data, nullptr, 0, nullptr, 0, static_cast<grpc_status_code>(status.raw_code()),
       status.ok() ? nullptr : std::string(status.message()).c_str());
}

// gRPC's own credentials of an unencrypted port take no processor; its C library's do.
class DoorCredentials final : public grpc::ServerCredentials {
 public:
  explicit DoorCredentials(Door& door) : door_(door) {}

  void SetAuthMetadataProcessor(const std::shared_ptr<grpc::AuthMetadataProcessor>&) override {
    TRI_CHECK(false) << "the door is the only processor";
  }

 private:
  int AddPortToServer(const std::string& address, grpc_server* server) override {
    grpc_server_credentials* credentials = grpc_insecure_server_credentials_create();
    grpc_server_credentials_set_auth_metadata_processor(
        credentials, {.process = Process, .destroy = nullptr, .state = &door_});
    const int port = grpc_server_add_http2_port(server, address.c_str(), credentials);
    grpc_server_credentials_release(credentials);
    return port;
  }

  Door& door_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Door>> Door::Make(const DoorOptions& options) {
  auto door = std::unique_ptr<Door>(new Door());
  if (!options.keys_file.empty()) {
    TRI_ASSIGN_OR_RETURN(door->keys_, Authenticator::Open({.keys_file = options.keys_file}));
  }
  if (!options.join_token_file.empty()) {
    TRI_RETURN_IF_ERROR(ReadSecret(options.join_token_file).status());
  } else if (door->keys_ != nullptr) {
    return absl::InvalidArgumentError(
        "clients need keys, so worker groups need a token to join with: give --join-token-file");
  }
  door->join_token_file_ = options.join_token_file;
  door->on_refusal_ = options.on_refusal;
  return door;
}

std::shared_ptr<grpc::ServerCredentials> Door::Guard(
    std::shared_ptr<grpc::ServerCredentials> credentials) {
  if (credentials == nullptr) return std::make_shared<DoorCredentials>(*this);
  credentials->SetAuthMetadataProcessor(std::make_shared<DoorProcessor>(*this));
  return credentials;
}

absl::Status Door::Check(std::string_view method, const Credentials& credentials) {
  absl::Status status = Judge(method, credentials);
  if (!status.ok()) on_refusal_(method, status);
  return status;
}

absl::Status Door::Judge(std::string_view method, const Credentials& credentials) {
  const Scope scope = ScopeOfMethod(method);
  if (scope == Scope::kJoin) return CheckJoin(credentials);
  if (keys_ == nullptr) return absl::OkStatus();
  return keys_->Authorise(credentials, scope).status();
}

// The file is read anew each time, which is seldom, so that the token may be another tomorrow.
absl::Status Door::CheckJoin(const Credentials& credentials) const {
  if (join_token_file_.empty()) return absl::OkStatus();
  const absl::StatusOr<std::string> token = ReadSecret(join_token_file_);
  if (!token.ok()) {
    LogError("no group can join", {{"error", std::string(token.status().message())}});
    return absl::UnavailableError("the coordinator cannot read its join token");
  }
  if (EqualSecrets(PresentedSecret(credentials), *token)) return absl::OkStatus();
  LogWarning("refused to let a group join: its token is wrong or missing");
  return absl::UnauthenticatedError(
      "a join token is needed, the one of this coordinator: give --join-token-file to the worker");
}

absl::Status Door::Admit(const grpc::CallbackServerContext& context, AcceptedRequest& accepted) {
  if (keys_ == nullptr) return absl::OkStatus();
  // Again, since the processor has no way to hand on what it found; the key may have been revoked
  // meanwhile.
  TRI_ASSIGN_OR_RETURN(const Principal principal,
                       keys_->Authorise(CredentialsIn(context.client_metadata()), Scope::kInfer));
  return AdmitAs(principal, accepted);
}

}  // namespace trireme
