// What a group says of its engine four times a second: EngineStatus → Heartbeat.
#pragma once

#include "runtime/engine/engine.h"
#include "trireme/v1/group.pb.h"

namespace trireme {

v1::Heartbeat ToHeartbeat(const EngineStatus& status);

}  // namespace trireme
