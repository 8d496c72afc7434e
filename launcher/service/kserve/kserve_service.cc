#include "launcher/service/kserve/kserve_service.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_format.h"
#include "launcher/service/grpc_status.h"
#include "launcher/service/kserve/infer_stream.h"
#include "launcher/service/kserve/model_tensors.h"
#include "runtime/base/mutex.h"

namespace trireme {
namespace {

// ModelInfer: one call, one response. Kept alive by itself from Start until OnDone.
class InferUnary final : public grpc::ServerUnaryReactor,
                         public std::enable_shared_from_this<InferUnary> {
 public:
  InferUnary(const InferParts& parts, grpc::CallbackServerContext& rpc,
             inference::ModelInferResponse& response)
      : call_(parts, InferCall::Kind::kUnary), rpc_(rpc), response_(response) {}

  InferUnary* Start(const inference::ModelInferRequest& request) {
    self_ = shared_from_this();
    call_.Start(rpc_, request, [weak = weak_from_this()] {
      if (const auto reactor = weak.lock()) reactor->Pump();
    });
    return this;
  }

  void OnCancel() override {
    call_.Cancel();
    FinishWith(absl::CancelledError("the client is gone"));
  }
  void OnDone() override {
    const std::shared_ptr<InferUnary> last = std::move(self_);
    call_.Cancel();
  }

 private:
  void Pump() {
    absl::Status end;
    {
      MutexLock lock(mutex_);
      if (finished_) return;
      std::optional<InferCall::Reply> reply = call_.Next();
      if (!reply.has_value()) return;
      response_ = std::move(reply->response);
      end = std::move(reply->error);
    }
    FinishWith(end);
  }

  void FinishWith(const absl::Status& status) {
    {
      MutexLock lock(mutex_);
      if (finished_) return;
      finished_ = true;
    }
    AddRefusal(status, rpc_);
    Finish(ToGrpc(status));
  }

  InferCall call_;
  grpc::CallbackServerContext& rpc_;         // gRPC's, until OnDone
  inference::ModelInferResponse& response_;  // gRPC's, until Finish
  std::shared_ptr<InferUnary> self_;
  Mutex mutex_;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
};

grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext& rpc,
                                 const absl::Status& status = absl::OkStatus()) {
  grpc::ServerUnaryReactor* reactor = rpc.DefaultReactor();
  reactor->Finish(ToGrpc(status));
  return reactor;
}

}  // namespace

bool KserveService::AnyReady() const {
  const std::vector<GroupSnapshot> groups = parts_.dispatcher->Groups();
  return std::ranges::any_of(groups, &GroupSnapshot::ready);
}

absl::Status KserveService::CheckModel(const std::string& name, const std::string& version) const {
  const std::string served = parts_.dispatcher->served().name;
  if (name == served && (version.empty() || version == kModelVersion)) return absl::OkStatus();
  return absl::NotFoundError(absl::StrFormat("model: this coordinator serves '%s' version %s only",
                                             served, kModelVersion));
}

grpc::ServerUnaryReactor* KserveService::ServerLive(grpc::CallbackServerContext* rpc,
                                                    const inference::ServerLiveRequest*,
                                                    inference::ServerLiveResponse* response) {
  response->set_live(true);
  return Answer(*rpc);
}

grpc::ServerUnaryReactor* KserveService::ServerReady(grpc::CallbackServerContext* rpc,
                                                     const inference::ServerReadyRequest*,
                                                     inference::ServerReadyResponse* response) {
  response->set_ready(AnyReady());
  return Answer(*rpc);
}

grpc::ServerUnaryReactor* KserveService::ModelReady(grpc::CallbackServerContext* rpc,
                                                    const inference::ModelReadyRequest* request,
                                                    inference::ModelReadyResponse* response) {
  // Of a model that is not served the protocol's answer is `false`, no error.
  response->set_ready(CheckModel(request->name(), request->version()).ok() && AnyReady());
  return Answer(*rpc);
}

grpc::ServerUnaryReactor* KserveService::ServerMetadata(
    grpc::CallbackServerContext* rpc, const inference::ServerMetadataRequest*,
    inference::ServerMetadataResponse* response) {
  response->set_name("trireme");
  response->set_version(TRIREME_VERSION);
  for (const char* extension : {"model_configuration", "model_repository", "statistics"}) {
    response->add_extensions(extension);
  }
  return Answer(*rpc);
}

grpc::ServerUnaryReactor* KserveService::ModelMetadata(
    grpc::CallbackServerContext* rpc, const inference::ModelMetadataRequest* request,
    inference::ModelMetadataResponse* response) {
  const absl::Status status = CheckModel(request->name(), request->version());
  if (status.ok()) *response = ModelMetadataOf(request->name());
  return Answer(*rpc, status);
}

grpc::ServerUnaryReactor* KserveService::ModelConfig(grpc::CallbackServerContext* rpc,
                                                     const inference::ModelConfigRequest* request,
                                                     inference::ModelConfigResponse* response) {
  const absl::Status status = CheckModel(request->name(), request->version());
  if (status.ok()) *response->mutable_config() = ModelConfigOf(request->name());
  return Answer(*rpc, status);
}

grpc::ServerUnaryReactor* KserveService::ModelStatistics(
    grpc::CallbackServerContext* rpc, const inference::ModelStatisticsRequest* request,
    inference::ModelStatisticsResponse* response) {
  const std::string served = parts_.dispatcher->served().name;
  const absl::Status status =
      CheckModel(request->name().empty() ? served : request->name(), request->version());
  if (status.ok()) *response->add_model_stats() = tally_.Report(served);
  return Answer(*rpc, status);
}

grpc::ServerUnaryReactor* KserveService::RepositoryIndex(
    grpc::CallbackServerContext* rpc, const inference::RepositoryIndexRequest* request,
    inference::RepositoryIndexResponse* response) {
  const bool ready = AnyReady();
  if (ready || !request->ready()) {
    auto* model = response->add_models();
    model->set_name(parts_.dispatcher->served().name);
    model->set_version(kModelVersion);
    model->set_state(ready ? "READY" : "UNAVAILABLE");
    if (!ready) model->set_reason("no worker group is ready");
  }
  return Answer(*rpc);
}

grpc::ServerUnaryReactor* KserveService::ModelInfer(grpc::CallbackServerContext* rpc,
                                                    const inference::ModelInferRequest* request,
                                                    inference::ModelInferResponse* response) {
  return std::make_shared<InferUnary>(parts_, *rpc, *response)->Start(*request);
}

grpc::ServerBidiReactor<inference::ModelInferRequest, inference::ModelStreamInferResponse>*
KserveService::ModelStreamInfer(grpc::CallbackServerContext* rpc) {
  return std::make_shared<InferStream>(parts_, *rpc)->Start();
}

}  // namespace trireme
