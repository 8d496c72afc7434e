// Which group takes the next request: a pure policy over a snapshot.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "launcher/coordinator/group_registry.h"

namespace trireme {

// The ready group with room for `requests` that has the fewest for its size; among equals the
// oldest. Nothing when no ready group has room.
std::optional<uint64_t> ChooseGroup(std::span<const GroupSnapshot> groups, int64_t requests = 1);

}  // namespace trireme
