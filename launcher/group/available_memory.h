// What a rank may still fill of its machine's memory, and whether the ranks of a host fit in it:
// the last question before anything is allocated, because a process that is ended for lack of
// memory takes its whole group with it and says nothing.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "runtime/model/memory_plan.h"

namespace trireme {

// Bytes that the kernel could give to new work: its own estimate (MemAvailable), or what the
// process's control group (version 2) and those around it leave, whichever is less. Pages of files
// count as free, since the kernel takes them back. `root`: where /proc and /sys are, "" but in
// tests. 0 when nothing can be read.
int64_t AvailableMemory(const std::string& root = "");

// A rank's need, as its host sees it.
struct HostedNeed {
  int rank = 0;
  std::string host;
  int64_t bytes = 0;
};

// RESOURCE_EXHAUSTED naming rank, host, what is needed, available and lacking, and what to do,
// unless all ranks of `rank`'s host fit in `available` bytes together (0: unknown, and taken to
// fit). `needs`: of every rank of the group, or of this one.
absl::Status CheckHostMemory(int rank, const MemoryPlan& plan, const std::vector<HostedNeed>& needs,
                             int64_t available);

}  // namespace trireme
