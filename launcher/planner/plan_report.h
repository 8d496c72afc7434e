// A plan for people (a table that fits a terminal of 100 columns) and for programs (one JSON
// object). Both name every constant and where it came from.
#pragma once

#include <string>

#include "launcher/planner/cluster.h"
#include "launcher/planner/search.h"

namespace trireme {

struct PlanReport {
  const PlannedModel& model;
  const ClusterFile& cluster;
  const Workload& workload;
  const PlanResult& result;
};

// `rows`: meshes that the table shows at most.
std::string PlanText(const PlanReport& report, size_t rows);
std::string PlanJson(const PlanReport& report);

}  // namespace trireme
