#include "launcher/audit/audit_trail.h"

namespace trireme {
namespace {

constexpr std::chrono::milliseconds kPatience{5'000};

std::string OutcomeOf(const absl::Status& status) {
  return absl::StatusCodeToString(status.code());
}

}  // namespace

void AuditTrail::OnCallEnd(const CallEnd& end, const std::string& model,
                           const std::string& version) {
  if (log_ == nullptr) return;
  log_->Add({.what = "request",
             .tenant = end.tenant,
             .request_id = end.id,
             .model = model,
             .version = version,
             .prompt_tokens = end.prompt_tokens,
             .completion_tokens = end.completion_tokens,
             .outcome = OutcomeOf(end.status)});
}

void AuditTrail::OnEvent(const CoordinatorEvent& event) {
  if (log_ == nullptr) return;
  if (event.kind == CoordinatorEvent::Kind::kGroupAttached) {
    log_->Add({.what = "group-attached", .detail = event.group});
  } else if (event.kind == CoordinatorEvent::Kind::kGroupLost) {
    log_->Add({.what = "group-lost", .outcome = OutcomeOf(event.cause), .detail = event.group});
  }
}

void AuditTrail::OnRefusal(std::string_view method, const absl::Status& status) {
  if (log_ == nullptr) return;
  log_->Add({.what = "refused", .method = std::string(method), .outcome = OutcomeOf(status)});
}

absl::Status AuditTrail::BeforeAdmin(std::string_view method, const std::string& detail) {
  if (log_ == nullptr) return absl::OkStatus();
  if (log_->AddNow({.what = "admin", .method = std::string(method), .detail = detail},
                   Deadline::After(kPatience))
          .ok()) {
    return absl::OkStatus();
  }
  return absl::UnavailableError(
      "the action cannot be recorded in the audit log, so it is not done; the server's log says "
      "why");
}

absl::Status AuditTrail::MayAccept() const {
  if (log_ == nullptr || !required_ || log_->health().ok()) return absl::OkStatus();
  return absl::UnavailableError(
      "requests cannot be recorded in the audit log now, and are not taken without; try again");
}

}  // namespace trireme
