// Which group takes the next request, and whether it begins there soon enough to be taken at all:
// pure policies over a snapshot.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>

#include "absl/status/status.h"
#include "launcher/coordinator/group_registry.h"

namespace trireme {

// The ready group with room for `requests` that has the fewest for its size; among equals the
// oldest. Nothing when no ready group has room.
std::optional<uint64_t> ChooseGroup(std::span<const GroupSnapshot> groups, int64_t requests = 1);

// A call that wants to be given to a group, and who waits there already.
struct Demand {
  int64_t requests = 1;         // completions
  int64_t tenants_waiting = 0;  // other requests of its tenant that have not begun
  int64_t other_tenants = 0;    // tenants besides its own of whom some have not begun
  std::optional<std::chrono::milliseconds> timeout;  // its own
};

// RESOURCE_EXHAUSTED, a Refusal, where the call is likely to wait for its turn longer than
// `max_queue` or its own timeout: whoever is refused at once can go elsewhere or come again, and
// what is accepted is answered in time. Before the group's pace is known, nobody is refused.
// Tenants take turns (engine/fair_queue.h), so the queue of one makes no other wait longer than its
// fair share of turns.
absl::Status CheckWait(const GroupSnapshot& group, const Demand& demand,
                       std::chrono::milliseconds max_queue);

}  // namespace trireme
