#include "launcher/coordinator/router.h"

namespace trireme {
namespace {

// a.assigned / a.max_sequences < b.assigned / b.max_sequences, without division.
bool LessLoaded(const GroupSnapshot& a, const GroupSnapshot& b) {
  const double left = static_cast<double>(a.assigned) * static_cast<double>(b.max_sequences);
  const double right = static_cast<double>(b.assigned) * static_cast<double>(a.max_sequences);
  return left < right || (left == right && a.incarnation < b.incarnation);
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

}  // namespace trireme
