#include "parallel/mesh.h"

#include <algorithm>
#include <bit>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "runtime/base/check.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

bool IsPowerOfTwo(int value) {
  return value >= 1 && std::has_single_bit(static_cast<unsigned>(value));
}

// OK when a stage of `shards` ranks leaves each of them something of every split axis.
absl::Status CheckShards(const ModelConfig& config, int shards) {
  // Later shards run out of heads first.
  for (int shard = shards - 1; shard >= 0; --shard) {
    const Place place{.stage = 0, .stages = 1, .shard = shard, .shards = shards};
    TRI_RETURN_IF_ERROR(MakeExtent(config, place).status());
  }
  return absl::OkStatus();
}

absl::Status CheckAxes(const ModelConfig& config, const Mesh& mesh) {
  if (mesh.ep != 1) {
    return absl::InvalidArgumentError(
        absl::StrFormat("ep must be 1: the model (%s) has no routed experts; got ep=%d",
                        config.architecture, mesh.ep));
  }
  if (!IsPowerOfTwo(mesh.tp) || mesh.tp > kMaxShards) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "tp must be a power of two up to %d (sums are halved once a bit of the rank); got tp=%d",
        kMaxShards, mesh.tp));
  }
  if (mesh.pp < 1 || mesh.pp > kMaxStages || mesh.pp > config.layers) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "pp must be in [1, %d]: every stage holds a whole layer and the model has %d; got pp=%d",
        std::min<int64_t>(config.layers, kMaxStages), config.layers, mesh.pp));
  }
  return CheckShards(config, mesh.tp);
}

// The meshes that fit and are nearest by each axis: pp clamped, tp itself or the next below and
// above.
std::vector<Mesh> NearestMeshes(const ModelConfig& config, const Mesh& mesh) {
  const auto most = static_cast<int>(std::min<int64_t>(config.layers, kMaxStages));
  const int pp = std::clamp(mesh.pp, 1, std::max(1, most));
  std::optional<int> below, above;
  for (int tp = 1; tp <= kMaxShards && !above && CheckShards(config, tp).ok(); tp *= 2) {
    (tp <= mesh.tp ? below : above) = tp;
  }
  std::vector<Mesh> found;
  if (below) found.push_back({.pp = pp, .tp = *below});
  if (above && below != mesh.tp) found.push_back({.pp = pp, .tp = *above});
  return found;
}

}  // namespace

std::string Mesh::ToString() const {
  return ep == 1 ? absl::StrFormat("pp=%d tp=%d", pp, tp)
                 : absl::StrFormat("pp=%d ep=%d tp=%d", pp, ep, tp);
}

Coordinate CoordinateOf(const Mesh& mesh, int rank) {
  TRI_CHECK(rank >= 0 && rank < mesh.ranks()) << rank;
  return {.stage = rank / mesh.shards(),
          .expert = rank % mesh.shards() / mesh.tp,
          .tensor = rank % mesh.tp};
}

int RankOf(const Mesh& mesh, const Coordinate& coordinate) {
  return (coordinate.stage * mesh.ep + coordinate.expert) * mesh.tp + coordinate.tensor;
}

Place PlaceOf(const Mesh& mesh, int rank) {
  const Coordinate coordinate = CoordinateOf(mesh, rank);
  return {.stage = coordinate.stage,
          .stages = mesh.pp,
          .shard = coordinate.expert * mesh.tp + coordinate.tensor,
          .shards = mesh.shards()};
}

std::optional<int> PreviousStageRank(const Mesh& mesh, int rank) {
  if (CoordinateOf(mesh, rank).stage == 0) return std::nullopt;
  return rank - mesh.shards();
}

std::optional<int> NextStageRank(const Mesh& mesh, int rank) {
  if (CoordinateOf(mesh, rank).stage + 1 == mesh.pp) return std::nullopt;
  return rank + mesh.shards();
}

absl::Status CheckMesh(const ModelConfig& config, const Mesh& mesh) {
  const absl::Status status = CheckAxes(config, mesh);
  if (status.ok()) return status;
  const std::string choices =
      absl::StrJoin(NearestMeshes(config, mesh), " or ", [](std::string* out, const Mesh& fits) {
        absl::StrAppendFormat(out, "--tp %d --pp %d", fits.tp, fits.pp);
      });
  return absl::InvalidArgumentError(absl::StrFormat(
      "%s; %s", std::string(status.message()),
      choices.empty() ? "no mesh fits this model" : "nearest that fits: " + choices));
}

absl::Status CheckWorld(const Mesh& mesh, int world) {
  if (mesh.ranks() == world) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("a mesh of %s needs %d ranks; the job has %d; start it with mpirun -n %d",
                      mesh.ToString(), mesh.ranks(), world, mesh.ranks()));
}

}  // namespace trireme
