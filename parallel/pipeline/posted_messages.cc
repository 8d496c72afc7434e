#include "parallel/pipeline/posted_messages.h"

#include "runtime/base/status_macros.h"

namespace trireme {

PostedMessages::PostedMessages(Communicator& world, int buffers, std::string_view what)
    : world_(world), what_(what), messages_(static_cast<size_t>(buffers)) {}

absl::StatusOr<std::vector<std::byte>*> PostedMessages::Open(Deadline deadline) {
  current_ = (current_ + 1) % messages_.size();
  Message& message = messages_[current_];
  TRI_RETURN_IF_ERROR(FinishMessage(message, deadline));
  return &message.bytes;
}

absl::Status PostedMessages::Post(int to) {
  Message& message = messages_[current_];
  TRI_ASSIGN_OR_RETURN(const Posted posted, world_.PostMessage(to, message.bytes));
  message.posted.push_back(posted);
  return absl::OkStatus();
}

absl::Status PostedMessages::Finish(Deadline deadline) {
  for (Message& message : messages_) TRI_RETURN_IF_ERROR(FinishMessage(message, deadline));
  return absl::OkStatus();
}

absl::Status PostedMessages::FinishMessage(Message& message, Deadline deadline) {
  for (Posted& posted : message.posted) {
    // Most have long been taken, and are not worth an entry in the flight ring.
    TRI_ASSIGN_OR_RETURN(const bool done, world_.Poll(posted));
    if (!done) TRI_RETURN_IF_ERROR(world_.Finish(posted, deadline, what_));
  }
  message.posted.clear();
  return absl::OkStatus();
}

}  // namespace trireme
