// The gRPC shell of Admin. A call waits on a thread of the server: they are few (TraceBox), and
// bounded in time.
#pragma once

#include "launcher/coordinator/dispatcher.h"
#include "trireme/v1/admin.grpc.pb.h"

namespace trireme {

class AdminService final : public v1::Admin::Service {
 public:
  explicit AdminService(Dispatcher& dispatcher) : dispatcher_(dispatcher) {}

  grpc::Status Trace(grpc::ServerContext* context, const v1::TraceRequest* request,
                     v1::TraceResponse* response) override;

 private:
  Dispatcher& dispatcher_;
};

}  // namespace trireme
