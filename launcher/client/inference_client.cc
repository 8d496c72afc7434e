#include "launcher/client/inference_client.h"

#include <grpcpp/grpcpp.h>

#include <utility>

#include "absl/strings/str_format.h"
#include "launcher/auth/secret.h"
#include "launcher/tls/credentials.h"
#include "trireme/v1/admin.grpc.pb.h"
#include "trireme/v1/inference.grpc.pb.h"

namespace trireme {
namespace {

void Prepare(const std::string& api_key, Deadline deadline, grpc::ClientContext& context) {
  if (!api_key.empty()) context.AddMetadata("authorization", "Bearer " + api_key);
  if (deadline.when() == Deadline::Clock::time_point::max()) return;
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::duration_cast<std::chrono::microseconds>(deadline.Left()));
}

}  // namespace

struct InferenceClient::Impl {
  std::string server;
  std::string api_key;
  absl::Status usable;  // what the options say
  std::unique_ptr<v1::Inference::Stub> stub;
  std::unique_ptr<v1::Admin::Stub> admin;

  absl::Status ToStatus(const grpc::Status& status) const {
    if (status.ok()) return absl::OkStatus();
    const auto code = static_cast<absl::StatusCode>(status.error_code());
    return absl::Status(code, absl::StrFormat("%s: %s (%s)", server, status.error_message(),
                                              absl::StatusCodeToString(code)));
  }
};

InferenceClient::InferenceClient(const ClientOptions& options) : impl_(std::make_unique<Impl>()) {
  impl_->server = options.server;
  impl_->api_key = options.api_key;
  if (!options.api_key_file.empty()) {
    absl::StatusOr<std::string> key = ReadSecret(options.api_key_file);
    impl_->usable = key.status();
    if (!key.ok()) return;
    impl_->api_key = *std::move(key);
  }
  const auto credentials = MakeChannelCredentials(options.tls);
  impl_->usable = credentials.status();
  if (!credentials.ok()) return;
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  if (!options.tls.server_name.empty()) {
    arguments.SetSslTargetNameOverride(options.tls.server_name);
  }
  const auto channel = grpc::CreateCustomChannel(options.server, *credentials, arguments);
  impl_->stub = v1::Inference::NewStub(channel);
  impl_->admin = v1::Admin::NewStub(channel);
}

InferenceClient::~InferenceClient() = default;

absl::Status InferenceClient::Chat(const v1::ChatRequest& request, Deadline deadline,
                                   std::stop_token stop,
                                   const std::function<void(const v1::GenerateResponse&)>& chunk) {
  if (!impl_->usable.ok()) return impl_->usable;
  grpc::ClientContext context;
  Prepare(impl_->api_key, deadline, context);
  const auto stream = impl_->stub->Chat(&context, request);
  const std::stop_callback cancel(stop, [&context] { context.TryCancel(); });
  v1::GenerateResponse message;
  while (stream->Read(&message)) chunk(message);
  return impl_->ToStatus(stream->Finish());
}

absl::StatusOr<v1::ModelsResponse> InferenceClient::Models(Deadline deadline) {
  if (!impl_->usable.ok()) return impl_->usable;
  grpc::ClientContext context;
  Prepare(impl_->api_key, deadline, context);
  v1::ModelsResponse response;
  const grpc::Status status = impl_->stub->Models(&context, v1::ModelsRequest(), &response);
  if (!status.ok()) return impl_->ToStatus(status);
  return response;
}

absl::StatusOr<std::string> InferenceClient::Trace(const std::string& group, Deadline deadline) {
  if (!impl_->usable.ok()) return impl_->usable;
  grpc::ClientContext context;
  Prepare(impl_->api_key, deadline, context);
  v1::TraceRequest request;
  request.set_group(group);
  v1::TraceResponse response;
  const grpc::Status status = impl_->admin->Trace(&context, request, &response);
  if (!status.ok()) return impl_->ToStatus(status);
  return std::move(*response.mutable_json());
}

absl::StatusOr<std::string> InferenceClient::Metrics(Deadline deadline) {
  if (!impl_->usable.ok()) return impl_->usable;
  grpc::ClientContext context;
  Prepare(impl_->api_key, deadline, context);
  v1::MetricsResponse response;
  const grpc::Status status = impl_->admin->Metrics(&context, v1::MetricsRequest(), &response);
  if (!status.ok()) return impl_->ToStatus(status);
  return std::move(*response.mutable_text());
}

}  // namespace trireme
