// Which region of which tensor each rank of a mesh holds: the tensor table meets the mesh. Shard
// files, manifests and the account of memory start from this list.
//
// INV-TABLE-1 (runtime/model/tensor_table.h) is about what this returns.
#pragma once

#include <cstddef>
#include <vector>

#include "absl/status/statusor.h"
#include "parallel/mesh.h"
#include "runtime/model/extent.h"
#include "runtime/model/tensor_table.h"

namespace trireme {

struct HeldSlice {
  size_t row = 0;  // of the table
  Slice slice;     // of the whole tensor
};

// What one rank holds, in the table's order.
struct RankShare {
  int rank = 0;
  Extent extent;
  std::vector<HeldSlice> slices;
};

// One share a rank, in rank order. INVALID_ARGUMENT as CheckMesh.
absl::StatusOr<std::vector<RankShare>> Partition(const TensorTable& table,
                                                 const ModelConfig& config, const Mesh& mesh);

}  // namespace trireme
