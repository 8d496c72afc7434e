// An HTTP request and its reply as values: what the server reads and writes, without a word about
// sockets.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace trireme {

using HttpFields = std::vector<std::pair<std::string, std::string>>;

struct HttpRequest {
  std::string method;  // as sent: "GET"
  std::string path;    // begins with '/', without the query, not decoded
  std::string query;   // what follows '?', not decoded
  HttpFields headers;  // names in lower case, in order
  std::string body;
  std::string peer;                // "127.0.0.1:40312"
  std::string client_certificate;  // the subject's common name; "" without a verified certificate

  // The first field of that name (in lower case); nullptr where there is none.
  const std::string* Header(std::string_view name) const;
  // The value of the first NAME=VALUE in the query; "" where there is none.
  std::string_view QueryValue(std::string_view name) const;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  HttpFields headers = {};  // beside those of content and connection
  std::string body = {};
  bool close = false;  // the connection ends with it
};

// "Not Found"; "" for a status that this server never sends.
std::string_view ReasonOf(int status);

// An error in the shape that OpenAI's clients read. `type` follows from the status; `code` is one
// word of ours; `message` is ours too, never what a client sent. 429 and 503 say when to try again.
HttpResponse Refusal(int status, std::string_view code, std::string_view message);
// Its body alone, for a stream that has begun.
std::string RefusalBody(int status, std::string_view code, std::string_view message);

}  // namespace trireme
