// Which routed experts do most of their layers' work. A layer whose tokens crowd on few experts
// keeps the ranks that hold the others waiting.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "trireme/v1/inference.pb.h"

namespace trireme {

// At most `most` experts, by their share of their layer's tokens, largest first, then by layer and
// expert; those that no token chose are left out. `loads` is StepResult::expert_loads, of `experts`
// a layer.
std::vector<v1::HotExpert> HottestExperts(std::span<const int64_t> loads, int64_t experts,
                                          size_t most);

}  // namespace trireme
