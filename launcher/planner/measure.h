// The constants of this machine, measured with the verbs that a step is made of: matrix products of
// the model's own widths and forms with one token (on one core, and on all at once) and with many,
// attention, the passes over activations, the sampler, and the exchanges of a tree sum between
// layers of the width that a rank of the job holds. Each is a low quantile of several short runs,
// so that other work on the machine disturbs little.
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "launcher/planner/cluster.h"
#include "launcher/planner/mlp_bench.h"
#include "parallel/comm/communicator.h"
#include "runtime/model/config.h"

namespace trireme {

// On one process, whatever core it is bound to: sets device, shared and overhead constants of
// `cluster`; a rate for each of `shapes`, of which the first is most of the model.
absl::Status MeasureDevices(const ModelConfig& config, const std::vector<MlpShape>& shapes,
                            ClusterFile& cluster);

// On every rank of a job; rank 0 sets node_link of `cluster`, and switch_us where ranks outnumber
// devices.
absl::Status MeasureLink(MlpShape shape, Communicator& world, ClusterFile& cluster);

}  // namespace trireme
