// The constants of this machine, measured with the verbs that a step is made of: matrix products of
// the model's own matrices with one token (on one core, and on all at once) and with many,
// attention, the passes over activations, the sampler, and the exchanges of a tree sum between
// layers of the width that a rank of the job holds. Each is a low quantile of several short runs,
// so that other work on the machine disturbs little.
#pragma once

#include "absl/status/status.h"
#include "launcher/planner/cluster.h"
#include "launcher/planner/rank_load.h"
#include "parallel/comm/communicator.h"

namespace trireme {

// On one process, whatever core it is bound to: sets device, shared and overhead constants of
// `cluster`, with a rate for each form of the model's matrices. Reads the weights' files.
absl::Status MeasureDevices(const PlannedModel& model, ClusterFile& cluster);

// On every rank of a job; rank 0 sets node_link of `cluster`, and switch_us where ranks outnumber
// devices.
absl::Status MeasureLink(const PlannedModel& model, Communicator& world, ClusterFile& cluster);

}  // namespace trireme
