// The processes of one deployment on this machine, as command lines: the coordinator, and one
// mpirun a group.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "launcher/supervisor/process.h"
#include "trireme/v1/config.pb.h"

namespace trireme {

// Ranks of a group: the product of its axes, those left 0 taken from the model's manifest where it
// is a shard directory, else 1. INVALID_ARGUMENT or what reading the manifest says.
absl::StatusOr<int> RanksOf(const v1::GroupConfig& group, const std::string& model);

// `trireme` is the program itself.
ProcessSpec CoordinatorProcess(const std::string& trireme, const v1::ServeConfig& config);

// `coordinator`: host:port that leaders dial.
ProcessSpec GroupProcess(const std::string& trireme, const v1::ServeConfig& config,
                         const v1::GroupConfig& group, const std::string& coordinator, int ranks);

}  // namespace trireme
