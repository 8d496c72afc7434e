// The gRPC shell of KServe's inference protocol (proto/kserve/inference.proto), for clients that
// were made for Triton and its like. Everything it serves is what trireme.v1 serves, by the same
// admission and dispatcher; only the form differs (infer_request.h, infer_response.h).
//
// Threads: gRPC's callback threads; nothing here blocks.
#pragma once

#include "kserve/inference.grpc.pb.h"
#include "launcher/service/kserve/infer_call.h"

namespace trireme {

class KserveService final : public inference::GRPCInferenceService::CallbackService {
 public:
  // Parts without a tally: it is the service's own.
  explicit KserveService(InferParts parts) : parts_(WithTally(parts)) {}

  grpc::ServerUnaryReactor* ServerLive(grpc::CallbackServerContext* rpc,
                                       const inference::ServerLiveRequest* request,
                                       inference::ServerLiveResponse* response) override;
  grpc::ServerUnaryReactor* ServerReady(grpc::CallbackServerContext* rpc,
                                        const inference::ServerReadyRequest* request,
                                        inference::ServerReadyResponse* response) override;
  grpc::ServerUnaryReactor* ModelReady(grpc::CallbackServerContext* rpc,
                                       const inference::ModelReadyRequest* request,
                                       inference::ModelReadyResponse* response) override;
  grpc::ServerUnaryReactor* ServerMetadata(grpc::CallbackServerContext* rpc,
                                           const inference::ServerMetadataRequest* request,
                                           inference::ServerMetadataResponse* response) override;
  grpc::ServerUnaryReactor* ModelMetadata(grpc::CallbackServerContext* rpc,
                                          const inference::ModelMetadataRequest* request,
                                          inference::ModelMetadataResponse* response) override;
  grpc::ServerUnaryReactor* ModelConfig(grpc::CallbackServerContext* rpc,
                                        const inference::ModelConfigRequest* request,
                                        inference::ModelConfigResponse* response) override;
  grpc::ServerUnaryReactor* ModelStatistics(grpc::CallbackServerContext* rpc,
                                            const inference::ModelStatisticsRequest* request,
                                            inference::ModelStatisticsResponse* response) override;
  grpc::ServerUnaryReactor* RepositoryIndex(grpc::CallbackServerContext* rpc,
                                            const inference::RepositoryIndexRequest* request,
                                            inference::RepositoryIndexResponse* response) override;
  grpc::ServerUnaryReactor* ModelInfer(grpc::CallbackServerContext* rpc,
                                       const inference::ModelInferRequest* request,
                                       inference::ModelInferResponse* response) override;
  grpc::ServerBidiReactor<inference::ModelInferRequest, inference::ModelStreamInferResponse>*
  ModelStreamInfer(grpc::CallbackServerContext* rpc) override;

 private:
  InferParts WithTally(InferParts parts) {
    parts.tally = &tally_;
    return parts;
  }
  bool AnyReady() const;
  absl::Status CheckModel(const std::string& name, const std::string& version) const;

  InferTally tally_;
  const InferParts parts_;
};

}  // namespace trireme
