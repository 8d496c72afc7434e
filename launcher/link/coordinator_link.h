// The leader's end of the stream to the coordinator (proto/group.proto): a plain blocking
// interface, so that only one file here sees gRPC. The leader dials in; it listens on nothing.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "launcher/tls/pem_files.h"
#include "runtime/base/deadline.h"
#include "trireme/v1/group.pb.h"

namespace trireme {

// Whom to dial, how, and what proves to it that the group may join.
struct CoordinatorAddress {
  std::string address;          // host:port
  std::string join_token_file;  // whose first line proves that the group may join; "": none
  ClientTlsFiles tls;
};

class CoordinatorLink {
 public:
  // Dials, says hello and returns once welcomed; `incarnation` is what tokens must carry.
  // UNAVAILABLE or DEADLINE_EXCEEDED: nobody answers there (yet). Any other error is the
  // coordinator's refusal, or that of CheckTlsFiles or ReadSecret.
  static absl::StatusOr<std::unique_ptr<CoordinatorLink>> Connect(
      const CoordinatorAddress& coordinator, const v1::Hello& hello, Deadline deadline);
  ~CoordinatorLink();

  uint64_t incarnation() const;

  // One reader and one writer thread at a time. Both return false once the link is over.
  bool Read(v1::CoordinatorMessage& message);
  bool Write(const v1::GroupMessage& message);

  // Ends the link at once: Read and Write return false. From any thread.
  void Abort();
  // Why the link is over: OK when the coordinator closed it in agreement. Only after Read returned
  // false.
  absl::Status Finish();

 private:
  struct Impl;
  explicit CoordinatorLink(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace trireme
