// A TCP client that sends what it is told, however wrong, and reads whole HTTP responses.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "absl/strings/ascii.h"
#include "absl/strings/str_format.h"
#include "runtime/base/deadline.h"

namespace trireme {

struct RawResponse {
  int status = 0;  // 0: the connection ended without one
  std::map<std::string, std::string> headers;
  std::string body;  // chunks joined
  bool whole = false;
};

class RawClient {
 public:
  explicit RawClient(const std::string& address) {
    const size_t colon = address.rfind(':');
    sockaddr_in to = {};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<uint16_t>(std::atoi(address.c_str() + colon + 1)));
    inet_pton(AF_INET, address.substr(0, colon).c_str(), &to.sin_addr);
    fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    connected_ = connect(fd_, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0;
  }
  ~RawClient() { Close(); }
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  bool connected() const { return connected_; }
  bool Send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
    return true;
  }
  void HalfClose() { shutdown(fd_, SHUT_WR); }
  void Close() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }
  void Reset() {
    const linger now = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    Close();
  }

  // Something more of the peer's in `buffer`; false at the end, or when it takes too long.
  bool More() {
    pollfd entry = {.fd = fd_, .events = POLLIN, .revents = 0};
    if (poll(&entry, 1, kPatienceMs) <= 0) return false;
    char bytes[16'384];
    const ssize_t count = recv(fd_, bytes, sizeof bytes, 0);
    if (count <= 0) return false;
    buffer.append(bytes, static_cast<size_t>(count));
    return true;
  }
  // Whether the peer ends the connection, whatever it still says.
  bool Ended() {
    while (More()) {
    }
    char byte = 0;
    return recv(fd_, &byte, 1, MSG_DONTWAIT) == 0;
  }
  bool ReadUntil(std::string_view mark) {
    while (buffer.find(mark) == std::string::npos) {
      if (!More()) return false;
    }
    return true;
  }

  RawResponse Read() {
    RawResponse response;
    do {
      if (!ReadUntil("\r\n\r\n")) return response;
      const size_t end = buffer.find("\r\n\r\n");
      ParseHead(buffer.substr(0, end + 2), response);
      buffer.erase(0, end + 4);
    } while (response.status == 100);
    if (response.headers["transfer-encoding"] == "chunked") {
      response.whole = ReadChunks(response.body);
      return response;
    }
    const auto length = response.headers.find("content-length");
    if (length == response.headers.end()) {
      response.whole = Ended();
      response.body = std::exchange(buffer, {});
      return response;
    }
    const auto size = static_cast<size_t>(std::atoll(length->second.c_str()));
    while (buffer.size() < size && More()) {
    }
    response.whole = buffer.size() >= size;
    response.body = buffer.substr(0, size);
    buffer.erase(0, size);
    return response;
  }

  RawResponse Ask(std::string_view bytes) {
    Send(bytes);
    return Read();
  }

  std::string buffer;  // read and not yet understood

 private:
  static constexpr int kPatienceMs = 20'000;

  static void ParseHead(std::string_view head, RawResponse& response) {
    response.headers.clear();
    response.status = head.size() > 12 ? std::atoi(std::string(head.substr(9, 3)).c_str()) : 0;
    for (size_t at = head.find("\r\n") + 2; at < head.size();) {
      const size_t end = head.find("\r\n", at);
      const std::string line(head.substr(at, end - at));
      const size_t colon = line.find(": ");
      response.headers[absl::AsciiStrToLower(line.substr(0, colon))] = line.substr(colon + 2);
      at = end + 2;
    }
  }
  bool ReadChunks(std::string& body) {
    while (true) {
      if (!ReadUntil("\r\n")) return false;
      const size_t size = std::strtoul(buffer.c_str(), nullptr, 16);
      buffer.erase(0, buffer.find("\r\n") + 2);
      while (buffer.size() < size + 2) {
        if (!More()) return false;
      }
      body += buffer.substr(0, size);
      buffer.erase(0, size + 2);
      if (size == 0) return true;
    }
  }

  int fd_ = -1;
  bool connected_ = false;
};

inline std::string Get(std::string_view path) {
  return absl::StrFormat("GET %s HTTP/1.1\r\nHost: h\r\n\r\n", path);
}
inline std::string Post(std::string_view path, std::string_view body,
                        std::string_view type = "application/json") {
  return absl::StrFormat(
      "POST %s HTTP/1.1\r\nHost: h\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", path, type,
      body.size(), body);
}

}  // namespace trireme
