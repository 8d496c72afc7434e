// What one rank of a mesh multiplies with in a step, from the tensor table and the dtypes of the
// actual checkpoint: the planner's view of a model. No tensor is named here; how often a matrix is
// used follows from how the table deals it out.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "launcher/planner/cluster.h"
#include "parallel/mesh.h"
#include "parallel/shards/model_source.h"
#include "runtime/model/memory_plan.h"
#include "runtime/ops/ops.h"

namespace trireme {

// What the kernel maps around a page of a file that is touched, where the file is in memory.
inline constexpr int64_t kFaultAround = 64 << 10;

// Which tokens of a step meet a matrix.
enum class Use {
  kEveryToken,
  kSampledTokens,  // the head
  kRoutedTokens,   // routed experts
};

// Matrices of one form and use, together.
struct MatrixGroup {
  MatrixForm form;
  Use use = Use::kEveryToken;
  int64_t bytes = 0;
  int64_t elements = 0;
};

struct RankLoad {
  int rank = 0;
  Extent extent;
  std::vector<MatrixGroup> matrices;
  int64_t weight_bytes = 0;  // of all its slices; Weights::bytes()
  int64_t lookup_bytes = 0;  // of them, rows that are looked up and never multiplied with
  int64_t lookup_row_bytes = 0;
  // What the kernel maps to read them from a checkpoint's files: gaps between the rows of a slice
  // and the surroundings of its ends come with it.
  int64_t mapped_bytes = 0;         // of every matrix and vector but these:
  int64_t mapped_routed_bytes = 0;  // of routed experts
};

// Of so many experts' matrices, the share that `tokens` touch, on average.
double ShareOfExperts(const ModelConfig& config, double tokens);

// A model as the planner needs it.
struct PlannedModel {
  const ModelSource& source;
  StoredTypes types;
  Arithmetic arithmetic = Arithmetic::kNative;  // that it will run with

  StoredTable stored() const { return {source.table, types}; }
};

// Reads headers only.
absl::StatusOr<PlannedModel> PlanModel(const ModelSource& source);

// Of every rank of a mesh that CheckMesh accepts.
absl::StatusOr<std::vector<RankLoad>> LoadsOf(const PlannedModel& model, const Mesh& mesh);

}  // namespace trireme
