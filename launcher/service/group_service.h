// The coordinator's end of a leader's stream (proto/group.proto) as a gRPC shell over the
// dispatcher. Threads: gRPC's callback threads; nothing here blocks.
#pragma once

#include "launcher/coordinator/dispatcher.h"
#include "trireme/v1/group.grpc.pb.h"

namespace trireme {

class GroupService final : public v1::GroupLink::CallbackService {
 public:
  // The dispatcher must outlive the server.
  explicit GroupService(Dispatcher& dispatcher) : dispatcher_(dispatcher) {}

  grpc::ServerBidiReactor<v1::GroupMessage, v1::CoordinatorMessage>* Attach(
      grpc::CallbackServerContext* context) override;

 private:
  Dispatcher& dispatcher_;
};

}  // namespace trireme
