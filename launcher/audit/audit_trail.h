// What the coordinator's parts tell the audit log: calls, groups, and what operators do.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "launcher/audit/audit_log.h"
#include "launcher/coordinator/dispatcher.h"

namespace trireme {

// Thread-safe. Without a log everything may go on and nothing is recorded.
class AuditTrail {
 public:
  AuditTrail() = default;
  // `required`: no call is accepted while events cannot be written.
  AuditTrail(std::unique_ptr<AuditLog> log, bool required)
      : log_(std::move(log)), required_(required) {}

  void OnCallEnd(const CallEnd& end, const std::string& model, const std::string& version);
  void OnEvent(const CoordinatorEvent& event);
  // A caller who was not let in, or asked for what he may not have.
  void OnRefusal(std::string_view method, const absl::Status& status);

  // Before an operator's action is done: UNAVAILABLE where it cannot be recorded, and then it must
  // not be done.
  absl::Status BeforeAdmin(std::string_view method, const std::string& detail);
  absl::Status MayAccept() const;

 private:
  std::unique_ptr<AuditLog> log_;
  bool required_ = false;
};

}  // namespace trireme
