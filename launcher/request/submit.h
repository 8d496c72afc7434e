// One completion on its way from the coordinator to a group's leader: Request ↔ Submit.
#pragma once

#include <cstdint>

#include "runtime/engine/request.h"
#include "trireme/v1/group.pb.h"

namespace trireme {

// `number` is the coordinator's for it. A deadline is set by the caller, who has the clock.
v1::Submit ToSubmit(uint64_t number, const Request& request);

// The same request again, but for its id and its deadline, which are the engine's to number and to
// count.
Request ToRequest(const v1::Submit& submit);

}  // namespace trireme
