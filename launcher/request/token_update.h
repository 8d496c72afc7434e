// What a group says of a request, on its way from the leader to the coordinator: TokenEvent ↔
// TokenUpdate.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "runtime/engine/request.h"
#include "trireme/v1/group.pb.h"

namespace trireme {

// `request` is the coordinator's number for it.
v1::TokenUpdate ToUpdate(uint64_t request, const TokenEvent& event);

// The end of a request with an error. CANCELLED becomes UNAVAILABLE: an engine that was stopped
// ends its requests as cancelled, and to the coordinator that is a group that leaves.
void SetError(const absl::Status& error, v1::TokenUpdate& update);

// Of an update with a token.
SampledToken TokenOf(const v1::TokenUpdate& update);
FinishReason FinishOf(const v1::TokenUpdate& update);
// Of an update that ends with UPDATE_END_ERROR; never OK.
absl::Status ErrorOf(const v1::TokenUpdate& update);

}  // namespace trireme
