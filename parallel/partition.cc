#include "parallel/partition.h"

#include <optional>
#include <utility>

#include "runtime/base/status_macros.h"

namespace trireme {

absl::StatusOr<std::vector<RankShare>> Partition(const TensorTable& table,
                                                 const ModelConfig& config, const Mesh& mesh) {
  TRI_RETURN_IF_ERROR(CheckMesh(config, mesh));
  std::vector<RankShare> shares;
  for (int rank = 0; rank < mesh.ranks(); ++rank) {
    RankShare share;
    share.rank = rank;
    TRI_ASSIGN_OR_RETURN(share.extent, MakeExtent(config, PlaceOf(mesh, rank)));
    for (size_t row = 0; row < table.size(); ++row) {
      const std::optional<Slice> slice = SliceFor(table[row], share.extent);
      if (slice) share.slices.push_back({row, *slice});
    }
    shares.push_back(std::move(share));
  }
  return shares;
}

}  // namespace trireme
