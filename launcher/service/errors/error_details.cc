#include "launcher/service/errors/error_details.h"

#include "absl/strings/ascii.h"
#include "launcher/load/refusal.h"
#include "rpc/error_details.pb.h"

namespace trireme {

std::string_view FieldAtFault(std::string_view message) {
  const size_t end = message.find(": ");
  if (end == std::string_view::npos) return "";
  const std::string_view field = message.substr(0, end);
  for (const char letter : field) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(letter)) && letter != '_' &&
        letter != '.' && letter != '[' && letter != ']') {
      return "";
    }
  }
  return field;
}

std::string ErrorDetails(const absl::Status& error) {
  const std::string message(error.message());
  google::rpc::Status status;
  status.set_code(error.raw_code());
  status.set_message(message);
  google::rpc::ErrorInfo reason;
  const auto refusal = ReasonOf(error);
  reason.set_reason(refusal.has_value() ? absl::AsciiStrToUpper(std::string(NameOf(*refusal)))
                                        : absl::StatusCodeToString(error.code()));
  reason.set_domain("trireme");
  status.add_details()->PackFrom(reason);
  if (const std::string_view field = FieldAtFault(message);
      error.code() == absl::StatusCode::kInvalidArgument && !field.empty()) {
    google::rpc::BadRequest bad;
    auto* violation = bad.add_field_violations();
    violation->set_field(std::string(field));
    violation->set_description(message.substr(field.size() + 2));
    status.add_details()->PackFrom(bad);
  }
  if (const auto retry_after = RetryAfterOf(error); retry_after.has_value()) {
    google::rpc::RetryInfo retry;
    retry.mutable_retry_delay()->set_seconds(retry_after->count());
    status.add_details()->PackFrom(retry);
  }
  return status.SerializeAsString();
}

}  // namespace trireme
