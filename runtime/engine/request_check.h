// What a request must be to be taken in; everything behind this door trusts it.
#pragma once

#include "absl/status/status.h"
#include "runtime/engine/engine.h"

namespace trireme {

// INVALID_ARGUMENT naming the field, what is allowed and what was given.
absl::Status CheckRequest(const Request& request, const EngineOptions& options);

}  // namespace trireme
