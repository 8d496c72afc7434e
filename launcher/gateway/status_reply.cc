#include "launcher/gateway/status_reply.h"

#include <optional>
#include <string_view>
#include <utility>

#include "launcher/load/refusal.h"

namespace trireme {
namespace {

struct Shown {
  int status = 500;
  std::string_view code;
};

Shown ShownAs(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
      return {400, "invalid_value"};
    case absl::StatusCode::kFailedPrecondition:
      return {400, "not_supported"};
    case absl::StatusCode::kUnimplemented:
      return {501, "not_implemented"};
    case absl::StatusCode::kUnauthenticated:
      return {401, "invalid_api_key"};
    case absl::StatusCode::kPermissionDenied:
      return {403, "permission_denied"};
    case absl::StatusCode::kNotFound:
      return {404, "not_found"};
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kAborted:
      return {409, "conflict"};
    case absl::StatusCode::kResourceExhausted:
      return {429, "overloaded"};
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kCancelled:
      return {503, "unavailable"};
    case absl::StatusCode::kDeadlineExceeded:
      return {504, "deadline_exceeded"};
    default:
      return {500, "internal_error"};
  }
}

}  // namespace

int HttpStatusOf(const absl::Status& error) { return ShownAs(error.code()).status; }

HttpResponse RefusalOf(const absl::Status& error) {
  auto [status, code] = ShownAs(error.code());
  const std::string message(error.message());
  // Of the only thing that a client names and we may not have.
  if (status == 404 && message.starts_with("model:")) code = "model_not_found";
  const std::optional<RefusalReason> reason = ReasonOf(error);
  if (reason.has_value()) code = NameOf(*reason);
  HttpResponse response = Refusal(status, code, message);
  if (const auto retry_after = RetryAfterOf(error); retry_after.has_value()) {
    std::erase_if(response.headers, [](const auto& field) { return field.first == "Retry-After"; });
    response.headers.emplace_back("Retry-After", std::to_string(retry_after->count()));
  }
  return response;
}

std::string ErrorEvent(const absl::Status& error) {
  return "data: " + RefusalOf(error).body + "\n\n";
}

void ReplyJson(Exchange& exchange, const Json& body) { exchange.Reply({.body = Dump(body)}); }

}  // namespace trireme
