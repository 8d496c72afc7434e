// Messages that are on their way while their sender goes on: plans to the followers, results to the
// leader. A message lives in one of a few buffers until all its receivers have taken it; a sender
// waits only when it needs a buffer whose message somebody has not taken yet.
//
// Buffers keep their capacity: a steady stream of messages allocates nothing.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "parallel/comm/communicator.h"

namespace trireme {

class PostedMessages {
 public:
  // `what` names the messages in errors and in the flight ring. `world` outlives this.
  PostedMessages(Communicator& world, int buffers, std::string_view what);

  // The buffer of the next message, to be written and then posted.
  absl::StatusOr<std::vector<std::byte>*> Open(Deadline deadline);
  // Sends what was written to one more receiver.
  absl::Status Post(int to);
  // Until every message has been taken.
  absl::Status Finish(Deadline deadline);

 private:
  struct Message {
    std::vector<std::byte> bytes;
    std::vector<Posted> posted;
  };
  absl::Status FinishMessage(Message& message, Deadline deadline);

  Communicator& world_;
  const std::string what_;
  std::vector<Message> messages_;
  size_t current_ = 0;
};

}  // namespace trireme
