#include "launcher/service/server.h"

#include <grpc/support/log.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <pthread.h>

#include <atomic>
#include <filesystem>
#include <thread>
#include <utility>

#include "absl/strings/str_format.h"
#include "launcher/audit/audit_trail.h"
#include "launcher/identity/tokenizer_hash.h"
#include "launcher/service/access/door.h"
#include "launcher/service/admin_service.h"
#include "launcher/service/group_service.h"
#include "launcher/service/inference_service.h"
#include "launcher/service/kserve/kserve_service.h"
#include "launcher/tls/credentials.h"
#include "runtime/base/log.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

constexpr std::chrono::milliseconds kTick{50};
// Streams that were told their end get this long to read it.
constexpr std::chrono::milliseconds kCloseGrace{1'000};
// Those whose health is the model's.
constexpr const char* kModelServices[] = {"trireme.v1.Inference", "inference.GRPCInferenceService"};

// gRPC's own lines are for its developers; what matters to an operator reaches us as a status.
void DropGrpcLog(gpr_log_func_args*) {}

std::string NameOf(const std::string& model_path) {
  std::filesystem::path path(model_path);
  if (!path.has_filename()) path = path.parent_path();
  return path.stem().string();
}

}  // namespace

absl::StatusOr<bool> IsLoopback(std::string_view listen) {
  const size_t colon = listen.rfind(':');
  if (colon == std::string_view::npos || colon == 0 || colon + 1 == listen.size()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("listen: expected HOST:PORT such as 127.0.0.1:50051; got '%s'", listen));
  }
  const std::string_view host = listen.substr(0, colon);
  return host == "localhost" || host == "[::1]" ||
         (host.starts_with("127.") &&
          host.find_first_not_of("0123456789.") == std::string_view::npos);
}

struct Server::Impl {
  std::string address;
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<ChatFormat> chat_format;
  std::unique_ptr<SlowReaders> slow_readers;
  AuditTrail audit;
  std::unique_ptr<Dispatcher> dispatcher;
  std::unique_ptr<Door> door;
  std::unique_ptr<InferenceService> inference;
  std::unique_ptr<KserveService> kserve;
  std::unique_ptr<GroupService> groups;
  std::unique_ptr<AdminService> admin;
  std::unique_ptr<grpc::Server> server;
  std::atomic<int64_t> slow_readers_cut_off = 0;
  std::jthread
      ticker;  // `tick`: runs Dispatcher::Tick and the observer; ends before the server closes
  bool stopped = false;

  absl::Status Open(const ServerOptions& options);
  void SetHealth(bool serving) {
    server->GetHealthCheckService()->SetServingStatus("", serving);
    for (const char* service : kModelServices) {
      server->GetHealthCheckService()->SetServingStatus(service, serving);
    }
  }
};

absl::Status Server::Impl::Open(const ServerOptions& options) {
  TRI_ASSIGN_OR_RETURN(const auto credentials, MakeServerCredentials(options.tls));
  inference = std::make_unique<InferenceService>(InferenceService::Parts{
      .dispatcher = dispatcher.get(),
      .slow_readers = slow_readers.get(),
      .tokenizer = tokenizer.get(),
      .chat_format = chat_format.get(),
      .chat_error =
          absl::FailedPreconditionError("this model's chat format is not known here; use Generate"),
      .door = door.get()});
  kserve = std::make_unique<KserveService>(InferParts{.dispatcher = dispatcher.get(),
                                                      .slow_readers = slow_readers.get(),
                                                      .inference = inference.get(),
                                                      .tokenizer = tokenizer.get()});
  groups = std::make_unique<GroupService>(*dispatcher);
  admin = std::make_unique<AdminService>(*dispatcher, audit);
  gpr_set_log_function(DropGrpcLog);
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(
      options.listen, door->Guard(options.tls.certificate.empty() ? nullptr : credentials), &port);
  builder.RegisterService(inference.get());
  builder.RegisterService(kserve.get());
  builder.RegisterService(groups.get());
  builder.RegisterService(admin.get());
  builder.SetMaxReceiveMessageSize(options.max_message_bytes);
  // A second coordinator on the same port must fail, not share it.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, options.max_streams);
  // A peer that vanished without a word (its machine died) is found within 30 s.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 20'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  // Clients may look after an idle connection in the same way.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 1'000);
  server = builder.BuildAndStart();
  if (server == nullptr || port == 0) {
    return absl::UnavailableError(
        absl::StrFormat("cannot listen on %s: is another coordinator running there? choose another "
                        "port",
                        options.listen));
  }
  SetHealth(false);
  address = absl::StrFormat("%s:%d", options.listen.substr(0, options.listen.rfind(':')), port);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(ServerOptions options) {
  TRI_ASSIGN_OR_RETURN(const bool loopback, IsLoopback(options.listen));
  if (!loopback && options.keys_file.empty() && !options.allow_remote) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "listen: %s can be reached from other machines and asks nobody for a key; listen on "
        "127.0.0.1, give --keys-file and --join-token-file, or accept that with --insecure",
        options.listen));
  }
  auto impl = std::make_unique<Impl>();
  if (!options.audit.file.empty()) {
    TRI_ASSIGN_OR_RETURN(auto log, AuditLog::Open(options.audit));
    impl->audit = AuditTrail(std::move(log), options.audit_required);
  }
  TRI_ASSIGN_OR_RETURN(impl->door,
                       Door::Make({.keys_file = options.keys_file,
                                   .join_token_file = options.join_token_file,
                                   .on_refusal = [raw = impl.get()](std::string_view method,
                                                                    const absl::Status& status) {
                                     raw->audit.OnRefusal(method, status);
                                   }}));
  TRI_ASSIGN_OR_RETURN(impl->tokenizer, LoadTokenizer(options.model));
  if (auto format = MakeChatFormat(*impl->tokenizer); format.ok()) {
    impl->chat_format = *std::move(format);
  } else {
    LogWarning("no chat", {{"reason", std::string(format.status().message())}});
  }
  DispatcherOptions dispatcher = std::move(options.dispatcher);
  dispatcher.model_name = options.model_name.empty() ? NameOf(options.model) : options.model_name;
  dispatcher.tokenizer_hash = TokenizerHash(*impl->tokenizer);
  dispatcher.callers_required = impl->door->keys() != nullptr;
  dispatcher.vocabulary = impl->tokenizer->vocab_size();
  dispatcher.observer = [raw = impl.get(),
                         observer = options.observer](const CoordinatorEvent& event) {
    if (event.kind == CoordinatorEvent::Kind::kServing) raw->SetHealth(true);
    if (event.kind == CoordinatorEvent::Kind::kNotServing) raw->SetHealth(false);
    raw->audit.OnEvent(event);
    observer(event);
  };
  impl->slow_readers = std::make_unique<SlowReaders>(options.slow_reader);
  dispatcher.may_accept = [raw = impl.get()] { return raw->audit.MayAccept(); };
  dispatcher.on_end = [raw = impl.get(), name = dispatcher.model_name](const CallEnd& end) {
    raw->audit.OnCallEnd(end, name, raw->dispatcher->identity());
  };
  impl->dispatcher = std::make_unique<Dispatcher>(std::move(dispatcher));
  TRI_RETURN_IF_ERROR(impl->Open(options));
  impl->ticker = std::jthread([raw = impl.get()](std::stop_token stop) {
    pthread_setname_np(pthread_self(), "tick");
    while (!stop.stop_requested()) {
      raw->dispatcher->Tick();
      if (const int cut_off = raw->slow_readers->Check(MonotonicNs()); cut_off > 0) {
        raw->slow_readers_cut_off += cut_off;
        LogInfo("clients that do not read were cut off", {{"streams", cut_off}});
      }
      std::this_thread::sleep_for(kTick);
    }
  });
  TRI_RETURN_IF_ERROR(impl->audit.BeforeAdmin("start", impl->address));
  LogInfo("coordinator listening", {{"address", impl->address}});
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Server::~Server() { Stop(Deadline::AfterMs(0)).IgnoreError(); }

const std::string& Server::address() const { return impl_->address; }

int64_t Server::slow_readers_cut_off() const { return impl_->slow_readers_cut_off; }

ServedParts Server::parts() const {
  return {.dispatcher = impl_->dispatcher.get(),
          .tokenizer = impl_->tokenizer.get(),
          .chat_format = impl_->chat_format.get(),
          .keys = impl_->door->keys()};
}

absl::Status Server::Stop(Deadline drain) {
  if (impl_->stopped) return absl::OkStatus();
  impl_->stopped = true;
  impl_->dispatcher->StopAccepting();
  while (impl_->dispatcher->requests() > 0 && !drain.Passed()) std::this_thread::sleep_for(kTick);
  const size_t cut_off = impl_->dispatcher->requests();
  impl_->dispatcher->EndAll("the coordinator is stopping");
  // Groups leave by themselves once told to; their going is what empties the list.
  const Deadline leave = Deadline::After(kCloseGrace);
  while (!impl_->dispatcher->Groups().empty() && !leave.Passed()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  impl_->ticker.request_stop();
  impl_->ticker.join();
  impl_->server->Shutdown(std::chrono::system_clock::now() + kCloseGrace);
  impl_->server->Wait();
  if (cut_off == 0) return absl::OkStatus();
  return absl::DeadlineExceededError(
      absl::StrFormat("%d requests were cut off by the stop", cut_off));
}

}  // namespace trireme
