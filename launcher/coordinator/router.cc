#include "launcher/coordinator/router.h"

#include <algorithm>

#include "absl/strings/str_format.h"
#include "launcher/load/refusal.h"

namespace trireme {
namespace {

// a.assigned / a.max_sequences < b.assigned / b.max_sequences, without division.
bool LessLoaded(const GroupSnapshot& a, const GroupSnapshot& b) {
  const double left = static_cast<double>(a.assigned) * static_cast<double>(b.max_sequences);
  const double right = static_cast<double>(b.assigned) * static_cast<double>(a.max_sequences);
  return left < right || (left == right && a.incarnation < b.incarnation);
}

// Requests that run at a time: as many as a step takes, or, where pages are what is scarce, as many
// as they are enough for now.
int64_t SlotsOf(const GroupSnapshot& group) {
  constexpr int64_t kScarce = 8;  // less than one page in so many is free
  const bool no_pages = group.waiting > 0 && group.running > 0 &&
                        group.counters.free_pages() * kScarce < group.counters.pages();
  return no_pages ? std::min(group.running, group.max_sequences) : group.max_sequences;
}

}  // namespace

std::optional<uint64_t> ChooseGroup(std::span<const GroupSnapshot> groups, int64_t requests) {
  const GroupSnapshot* best = nullptr;
  for (const GroupSnapshot& group : groups) {
    if (!group.ready || group.assigned + requests > group.capacity) continue;
    if (best == nullptr || LessLoaded(group, *best)) best = &group;
  }
  if (best == nullptr) return std::nullopt;
  return best->incarnation;
}

absl::Status CheckWait(const GroupSnapshot& group, const Demand& demand,
                       std::chrono::milliseconds max_queue) {
  const int64_t slots = SlotsOf(group);
  const int64_t in_turn = (demand.tenants_waiting + demand.requests) * (demand.other_tenants + 1);
  const int64_t ahead = std::min(group.assigned + demand.requests - slots, in_turn);
  if (ahead <= 0) return absl::OkStatus();
  const std::chrono::milliseconds limit = std::min(max_queue, demand.timeout.value_or(max_queue));
  const auto wait = group.queue.UntilEnded(ahead);
  // Before the group's pace is known, only the bound on all requests holds: a batch that comes at
  // once to a fresh group is no overload.
  if (!wait.has_value() || *wait <= limit) return absl::OkStatus();
  const bool own = limit < max_queue;
  return Refusal(
      absl::StatusCode::kResourceExhausted,
      own ? RefusalReason::kDeadline : RefusalReason::kLongWait,
      absl::StrFormat(
          "the request would wait about %d ms for its turn, longer than the %d ms of %s;"
          " try again later",
          wait->count(), limit.count(), own ? "its own deadline" : "the coordinator's limit"),
      *wait - limit);
}

}  // namespace trireme
