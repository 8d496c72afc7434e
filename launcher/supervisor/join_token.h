// The secret by which the groups that `trireme serve` starts prove to its coordinator that they may
// join: drawn at each start, in a file below a directory of its own that no other user can enter,
// and gone at the end. Processes are told the path, never the secret.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace trireme {

class JoinToken {
 public:
  // UNAVAILABLE: no temporary directory can be made.
  static absl::StatusOr<std::unique_ptr<JoinToken>> Make();
  JoinToken(const JoinToken&) = delete;
  JoinToken& operator=(const JoinToken&) = delete;
  ~JoinToken();  // removes file and directory

  std::string path() const;

 private:
  explicit JoinToken(std::string folder) : folder_(std::move(folder)) {}
  const std::string folder_;
};

}  // namespace trireme
