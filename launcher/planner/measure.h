// The constants of this machine, measured with the verbs that a step is made of: matrix products of
// the model's own width and dtypes with one token and with many, attention, the passes over
// activations, the sampler, and the exchanges of a tree sum. Each is the best of several short
// runs, so that other work on the machine disturbs little.
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "launcher/planner/cluster.h"
#include "parallel/comm/communicator.h"
#include "runtime/model/config.h"
#include "runtime/tensor/dtype.h"

namespace trireme {

// On one process: sets device, shared and overhead constants of `cluster`.
absl::Status MeasureDevices(const ModelConfig& config, const std::vector<DType>& dtypes,
                            ClusterFile& cluster);

// On every rank of a job; rank 0 sets node_link of `cluster`, and switch_us where ranks outnumber
// `devices`.
absl::Status MeasureLink(const ModelConfig& config, DType dtype, Communicator& world,
                         ClusterFile& cluster);

}  // namespace trireme
