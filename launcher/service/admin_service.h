// The gRPC shell of Admin. A call waits on a thread of the server: they are few (TraceBox), and
// bounded in time.
#pragma once

#include "launcher/audit/audit_trail.h"
#include "launcher/coordinator/dispatcher.h"
#include "trireme/v1/admin.grpc.pb.h"

namespace trireme {

class AdminService final : public v1::Admin::Service {
 public:
  // What is asked is recorded before it is done. Both must outlive the server.
  AdminService(Dispatcher& dispatcher, AuditTrail& audit)
      : dispatcher_(dispatcher), audit_(audit) {}

  grpc::Status Trace(grpc::ServerContext* context, const v1::TraceRequest* request,
                     v1::TraceResponse* response) override;
  grpc::Status Metrics(grpc::ServerContext* context, const v1::MetricsRequest* request,
                       v1::MetricsResponse* response) override;

 private:
  Dispatcher& dispatcher_;
  AuditTrail& audit_;
};

}  // namespace trireme
