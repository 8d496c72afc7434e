// Every mesh that divides a model, what each rank of it holds, and how fast it would be: pure
// arithmetic over headers and a cluster's constants. Groups beside each other (dp) fill what a
// group leaves of the cluster.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "launcher/planner/cluster.h"
#include "launcher/planner/cost_model.h"
#include "launcher/planner/rank_load.h"

namespace trireme {

struct Workload {
  int64_t batch = 1;    // sequences of a group
  int64_t context = 0;  // positions of each
  int64_t prompt = 0;   // of them, read before the first token
  DType kv_dtype = DType::kF16;
  int64_t page_tokens = kPageTokens;
  int64_t max_step_tokens = 256;
  int64_t max_positions = 0;  // that the rotary table has; at least `context`
};

struct RankMemory {
  MemoryPlan plan;
  int node = 0;
  int64_t process = 0;    // program, libraries, transport
  int64_t available = 0;  // on its device, or its share of its node's
  // What a run of this workload touches: weights that are mapped from a file count where they are
  // read, with the pages that the kernel maps around them.
  int64_t resident = 0;

  int64_t total() const { return plan.total() + process; }
  // Negative where there is room to spare.
  int64_t lacking() const { return total() - available; }
};

struct MeshPlan {
  Mesh mesh;
  std::vector<RankMemory> ranks;
  int64_t longest_context = 0;   // at the workload's batch; 0: not even one page fits
  bool fits = false;             // the workload does
  StepSeconds decode;            // a step of the whole batch at the workload's context
  StepSeconds prefill;           // of one prompt
  int groups = 1;                // of this mesh that the cluster holds beside each other
  bool takes_turns = false;      // more ranks than devices
  double price_per_million = 0;  // generated tokens; 0: no price is known

  double tokens_per_second() const;  // of one group
  double cluster_tokens_per_second() const { return tokens_per_second() * groups; }
  // Index of the rank with the least room, or that lacks most.
  size_t tightest_rank() const;
  int64_t batch = 1;
};

// The mesh recommended and the reason, in words.
struct Recommendation {
  std::optional<size_t> plan;  // index into plans
  std::string why;
};

struct PlanResult {
  std::vector<MeshPlan> plans;  // fastest that fits first
  Recommendation recommended;
};

// Plans one mesh. INVALID_ARGUMENT as CheckMesh.
absl::StatusOr<MeshPlan> PlanMesh(const PlannedModel& model, const Cluster& cluster,
                                  const Mesh& mesh, const Workload& workload);

// Every mesh of at most the cluster's devices within what `request` fixes. INVALID_ARGUMENT when a
// given axis cannot divide the model; it names what would work.
absl::StatusOr<PlanResult> SearchMeshes(const PlannedModel& model, const Cluster& cluster,
                                        const MeshRequest& request, const Workload& workload);

}  // namespace trireme
