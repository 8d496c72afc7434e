#include "launcher/service/admin_service.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "launcher/report/metrics_page.h"
#include "launcher/service/grpc_status.h"

namespace trireme {
namespace {

// Also for callers that give no deadline of their own.
constexpr std::chrono::milliseconds kLongestWait{5'000};

Deadline DeadlineOf(const grpc::ServerContext& context) {
  const auto left = context.deadline() - std::chrono::system_clock::now();
  return Deadline::After(
      std::clamp<std::chrono::nanoseconds>(left, std::chrono::nanoseconds(0), kLongestWait));
}

}  // namespace

grpc::Status AdminService::Trace(grpc::ServerContext* context, const v1::TraceRequest* request,
                                 v1::TraceResponse* response) {
  if (const absl::Status recorded = audit_.BeforeAdmin("/trireme.v1.Admin/Trace", "");
      !recorded.ok()) {
    return ToGrpc(recorded);
  }
  std::string group = request->group();
  absl::StatusOr<std::string> trace = dispatcher_.Trace(group, DeadlineOf(*context));
  if (!trace.ok()) return ToGrpc(trace.status());
  response->set_group(std::move(group));
  response->set_json(*std::move(trace));
  return grpc::Status::OK;
}

grpc::Status AdminService::Metrics(grpc::ServerContext*, const v1::MetricsRequest*,
                                   v1::MetricsResponse* response) {
  response->set_text(MetricsPage(dispatcher_));
  return grpc::Status::OK;
}

}  // namespace trireme
