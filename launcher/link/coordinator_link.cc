#include "launcher/link/coordinator_link.h"

#include <grpcpp/grpcpp.h>

#include <semaphore>
#include <thread>
#include <utility>

#include "absl/strings/str_format.h"
#include "launcher/auth/secret.h"
#include "launcher/tls/credentials.h"
#include "runtime/base/status_macros.h"
#include "trireme/v1/group.grpc.pb.h"

namespace trireme {
namespace {

// A prompt of the longest context we know of fits several times.
constexpr int kMaxMessageBytes = 256 << 20;

absl::StatusOr<std::shared_ptr<grpc::Channel>> Dial(const CoordinatorAddress& coordinator) {
  TRI_ASSIGN_OR_RETURN(const auto credentials, MakeChannelCredentials(coordinator.tls));
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  // The caller retries; the channel itself must not sit in a back-off of minutes meanwhile.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1'000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1'000);
  // A coordinator whose machine vanished without a word is noticed within 6 s.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 4'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 2'000);
  // Each link its own connection: a broken one is not handed to the next.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  if (!coordinator.tls.server_name.empty()) {
    arguments.SetSslTargetNameOverride(coordinator.tls.server_name);
  }
  return grpc::CreateCustomChannel(coordinator.address, credentials, arguments);
}

}  // namespace

struct CoordinatorLink::Impl {
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::GroupLink::Stub> stub;
  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientReaderWriter<v1::GroupMessage, v1::CoordinatorMessage>> stream;
  uint64_t incarnation = 0;
  bool finished = false;
};

absl::StatusOr<std::unique_ptr<CoordinatorLink>> CoordinatorLink::Connect(
    const CoordinatorAddress& coordinator, const v1::Hello& hello, Deadline deadline) {
  const std::string& address = coordinator.address;
  auto impl = std::make_unique<Impl>();
  if (!coordinator.join_token_file.empty()) {
    TRI_ASSIGN_OR_RETURN(const std::string token, ReadSecret(coordinator.join_token_file));
    impl->context.AddMetadata("authorization", "Bearer " + token);
  }
  TRI_ASSIGN_OR_RETURN(impl->channel, Dial(coordinator));
  const auto until = std::chrono::system_clock::now() +
                     std::chrono::duration_cast<std::chrono::microseconds>(deadline.Left());
  if (!impl->channel->WaitForConnected(until)) {
    return absl::UnavailableError(absl::StrFormat(
        "no coordinator answers on %s%s; start one with `trireme coordinator`", address,
        coordinator.tls.ca.empty() ? "" : " with a certificate that is trusted"));
  }
  impl->stub = v1::GroupLink::NewStub(impl->channel);
  impl->stream = impl->stub->Attach(&impl->context);
  auto link = std::unique_ptr<CoordinatorLink>(new CoordinatorLink(std::move(impl)));
  v1::GroupMessage first;
  *first.mutable_hello() = hello;
  v1::CoordinatorMessage answer;
  std::binary_semaphore answered(0);
  bool on_time = true;
  // A synchronous call has no deadline but the whole stream's: this thread, which ends with the
  // call, is the answer's.
  std::jthread watchdog([&] {
    on_time = answered.try_acquire_until(deadline.when());
    if (!on_time) link->Abort();
  });
  const bool welcomed = link->Write(first) && link->Read(answer);
  answered.release();
  watchdog.join();
  if (!on_time) {
    return absl::DeadlineExceededError(
        absl::StrFormat("the coordinator on %s accepted the link and did not answer", address));
  }
  if (!welcomed) {
    absl::Status status = link->Finish();
    return status.ok() ? absl::UnavailableError("the coordinator closed the link") : status;
  }
  if (!answer.has_welcome()) {
    return absl::InternalError("the coordinator answered hello with something else than welcome");
  }
  link->impl_->incarnation = answer.welcome().incarnation();
  return link;
}

CoordinatorLink::CoordinatorLink(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

CoordinatorLink::~CoordinatorLink() {
  if (impl_->stream == nullptr || impl_->finished) return;
  impl_->context.TryCancel();
  Finish().IgnoreError();
}

uint64_t CoordinatorLink::incarnation() const { return impl_->incarnation; }

bool CoordinatorLink::Read(v1::CoordinatorMessage& message) {
  return impl_->stream->Read(&message);
}

bool CoordinatorLink::Write(const v1::GroupMessage& message) {
  return impl_->stream->Write(message);
}

void CoordinatorLink::Abort() { impl_->context.TryCancel(); }

absl::Status CoordinatorLink::Finish() {
  impl_->finished = true;
  const grpc::Status status = impl_->stream->Finish();
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

}  // namespace trireme
