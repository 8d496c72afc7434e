// A client of a coordinator, for `trireme chat` and `trireme status`: blocking calls with
// deadlines, and no gRPC in this header.
#pragma once

#include <functional>
#include <memory>
#include <stop_token>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "launcher/tls/pem_files.h"
#include "runtime/base/deadline.h"
#include "trireme/v1/inference.pb.h"

namespace trireme {

// Whom to call, and how.
struct ClientOptions {
  std::string server = "127.0.0.1:50051";  // host:port
  ClientTlsFiles tls;
  std::string api_key;       // "": none
  std::string api_key_file;  // whose first line is the key, before `api_key`; "": none
};

class InferenceClient {
 public:
  // Dials at the first call; what is wrong with the options is the error of every call.
  explicit InferenceClient(const ClientOptions& options);
  ~InferenceClient();

  // Calls `chunk` for each message, in order, on this thread. A stop request cancels the call
  // (CANCELLED). Errors are the server's (inference.proto), or UNAVAILABLE when nobody answers.
  absl::Status Chat(const v1::ChatRequest& request, Deadline deadline, std::stop_token stop,
                    const std::function<void(const v1::GenerateResponse&)>& chunk);

  absl::StatusOr<v1::ModelsResponse> Models(Deadline deadline);

  // The last steps of a group ("": the first) as a Chrome trace (admin.proto).
  absl::StatusOr<std::string> Trace(const std::string& group, Deadline deadline);
  // The metrics' page (admin.proto).
  absl::StatusOr<std::string> Metrics(Deadline deadline);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace trireme
