#include "launcher/gateway/http/request_head.h"

#include <algorithm>
#include <boost/beast/http/error.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "launcher/gateway/limits.h"

namespace trireme {
namespace {

namespace http = boost::beast::http;

std::string Text(boost::beast::string_view text) { return {text.data(), text.size()}; }

size_t CountOf(const HttpRequest& request, std::string_view name) {
  return static_cast<size_t>(std::ranges::count(
      request.headers, name, [](const auto& field) { return std::string_view(field.first); }));
}

HttpResponse BadFraming() {
  return Refusal(400, "bad_framing",
                 "HTTP: expected a body framed by Content-Length or by chunks, and only by one");
}

// "http://host/path" is a request for /path too.
std::string PathOf(std::string target) {
  const size_t scheme = target.find("://");
  if (target.starts_with('/') || scheme == std::string::npos) return target;
  const size_t slash = target.find('/', scheme + 3);
  return slash == std::string::npos ? "/" : target.substr(slash);
}

}  // namespace

HttpRequest ReadHead(const RawHead& head) {
  HttpRequest request;
  request.method = Text(head.method_string());
  request.path = PathOf(Text(head.target()));
  if (const size_t mark = request.path.find('?'); mark != std::string::npos) {
    request.query = request.path.substr(mark + 1);
    request.path.resize(mark);
  }
  for (const auto& field : head) {
    request.headers.emplace_back(absl::AsciiStrToLower(Text(field.name_string())),
                                 Text(field.value()));
  }
  return request;
}

std::optional<HttpResponse> RefuseHead(const RawHead& head, const HttpRequest& request) {
  if (head.version() != 10 && head.version() != 11) {
    return Refusal(505, "http_version", "HTTP: expected version 1.1 or 1.0");
  }
  if (request.headers.size() > kMaxHeaderFields) {
    return Refusal(431, "too_many_headers", "HTTP: expected at most 100 header fields");
  }
  if (!request.path.starts_with('/')) {
    return Refusal(400, "bad_target", "HTTP: expected a request for a path, such as /v1/models");
  }
  if (head.version() == 11 && CountOf(request, "host") != 1) {
    return Refusal(400, "bad_host", "HTTP: expected exactly one Host field");
  }
  const std::string* length = request.Header("content-length");
  if (length != nullptr && (CountOf(request, "content-length") != 1 ||
                            length->find_first_not_of("0123456789") != std::string::npos)) {
    return BadFraming();
  }
  const std::string* encoding = request.Header("transfer-encoding");
  if (encoding == nullptr) return std::nullopt;
  if (CountOf(request, "transfer-encoding") != 1 || !absl::EqualsIgnoreCase(*encoding, "chunked") ||
      head.version() != 11 || length != nullptr) {
    return BadFraming();
  }
  return std::nullopt;
}

HttpResponse RefusalOf(const boost::system::error_code& error) {
  if (error == http::error::header_limit || error == http::error::buffer_overflow) {
    return Refusal(431, "headers_too_large", "HTTP: expected at most 16384 bytes of header");
  }
  if (error == http::error::body_limit) {
    return Refusal(413, "body_too_large", "HTTP: the body is larger than this server takes");
  }
  if (error == http::error::bad_version) {
    return Refusal(505, "http_version", "HTTP: expected version 1.1 or 1.0");
  }
  if (error == http::error::bad_content_length || error == http::error::bad_transfer_encoding) {
    return BadFraming();
  }
  if (error == http::error::bad_chunk || error == http::error::bad_chunk_extension) {
    return Refusal(400, "bad_chunk",
                   "HTTP: a chunk of the body is malformed, or there are too many");
  }
  return Refusal(400, "bad_request", "HTTP: the request is malformed");
}

}  // namespace trireme
