#include "launcher/gateway/http/message.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace trireme {
namespace {

constexpr std::pair<int, std::string_view> kReasons[] = {
    {200, "OK"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {413, "Content Too Large"},
    {415, "Unsupported Media Type"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
};

// As OpenAI names them.
std::string_view TypeOf(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 429:
      return "rate_limit_error";
    case 503:
      return "service_unavailable_error";
    case 504:
      return "timeout_error";
    default:
      return status >= 500 ? "server_error" : "invalid_request_error";
  }
}

}  // namespace

const std::string* HttpRequest::Header(std::string_view name) const {
  const auto found = std::ranges::find(
      headers, name, [](const auto& field) { return std::string_view(field.first); });
  return found == headers.end() ? nullptr : &found->second;
}

std::string_view HttpRequest::QueryValue(std::string_view name) const {
  std::string_view rest = query;
  while (!rest.empty()) {
    const std::string_view pair = rest.substr(0, rest.find('&'));
    rest.remove_prefix(std::min(rest.size(), pair.size() + 1));
    const size_t equals = pair.find('=');
    if (pair.substr(0, equals) != name) continue;
    return equals == std::string_view::npos ? std::string_view() : pair.substr(equals + 1);
  }
  return {};
}

std::string_view ReasonOf(int status) {
  const auto* const found =
      std::ranges::find(kReasons, status, [](const auto& reason) { return reason.first; });
  return found == std::end(kReasons) ? std::string_view() : found->second;
}

std::string RefusalBody(int status, std::string_view code, std::string_view message) {
  nlohmann::ordered_json error;
  error["message"] = std::string(message);
  error["type"] = std::string(TypeOf(status));
  error["param"] = nullptr;
  error["code"] = std::string(code);
  return nlohmann::ordered_json{{"error", std::move(error)}}.dump(
      -1, ' ', /*ensure_ascii=*/false, nlohmann::ordered_json::error_handler_t::replace);
}

HttpResponse Refusal(int status, std::string_view code, std::string_view message) {
  HttpResponse response{.status = status, .body = RefusalBody(status, code, message)};
  if (status == 429 || status == 503) response.headers.emplace_back("Retry-After", "1");
  if (status == 401) response.headers.emplace_back("WWW-Authenticate", "Bearer");
  return response;
}

}  // namespace trireme
