// An error as programs read it, beside the message for people: ErrorInfo always (reason: the
// refusal as in load/refusal.h, or the code's name; domain "trireme"), BadRequest with the field
// where one is at fault, RetryInfo where another attempt may help.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace trireme {

// Of an error: a serialized google.rpc.Status, what `grpc-status-details-bin` holds.
std::string ErrorDetails(const absl::Status& error);

// The field that a message of ours begins with ("sampling.top_k: expected …"); "": none.
std::string_view FieldAtFault(std::string_view message);

}  // namespace trireme
