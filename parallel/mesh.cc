#include "parallel/mesh.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <utility>
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

// OK when a stage of ep × tp ranks leaves each of them something of every split axis.
absl::Status CheckShards(const ModelConfig& config, int ep, int tp) {
  // Later shards run out of heads first.
  for (int shard = ep * tp - 1; shard >= 0; --shard) {
    const Place place{
        .stage = 0, .stages = 1, .shard = shard, .shards = ep * tp, .expert_groups = ep};
    TRI_RETURN_IF_ERROR(MakeExtent(config, place).status());
  }
  return absl::OkStatus();
}

absl::Status CheckAxes(const ModelConfig& config, const Mesh& mesh) {
  if (mesh.ep != 1 && !config.experts) {
    return absl::InvalidArgumentError(
        absl::StrFormat("ep must be 1: the model (%s) has no routed experts; got ep=%d",
                        config.architecture, mesh.ep));
  }
  for (const auto& [axis, size] : {std::pair("ep", mesh.ep), std::pair("tp", mesh.tp)}) {
    if (IsPowerOfTwo(size) && size <= kMaxShards) continue;
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s must be a power of two up to %d (sums are halved once a bit of the rank); got %s=%d",
        axis, kMaxShards, axis, size));
  }
  if (mesh.ep > kMaxShards / mesh.tp) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "ep times tp must be at most %d; got ep=%d tp=%d", kMaxShards, mesh.ep, mesh.tp));
  }
  if (mesh.pp < 1 || mesh.pp > kMaxStages || mesh.pp > config.layers) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "pp must be in [1, %d]: every stage holds a whole layer and the model has %d; got pp=%d",
        std::min<int64_t>(config.layers, kMaxStages), config.layers, mesh.pp));
  }
  return CheckShards(config, mesh.ep, mesh.tp);
}

// The greatest power of two up to `wanted` that fits, and the next that does; the first is at least
// 1 where anything fits.
std::vector<int> NearestFits(int wanted, const std::function<bool(int)>& fits) {
  std::optional<int> below, above;
  for (int size = 1; size <= kMaxShards && !above && fits(size); size *= 2) {
    (size <= wanted ? below : above) = size;
  }
  std::vector<int> found;
  if (below) found.push_back(*below);
  if (above && below != wanted) found.push_back(*above);
  return found;
}

// The meshes that fit and are nearest: pp clamped, and one of the other axes moved.
std::vector<Mesh> NearestMeshes(const ModelConfig& config, const Mesh& mesh) {
  const auto most = static_cast<int>(std::min<int64_t>(config.layers, kMaxStages));
  const int pp = std::clamp(mesh.pp, 1, std::max(1, most));
  const auto fits = [&](int ep, int tp) {
    return ep * tp <= kMaxShards && CheckShards(config, ep, tp).ok();
  };
  std::vector<Mesh> found;
  const int ep = config.experts && IsPowerOfTwo(mesh.ep) && fits(mesh.ep, 1) ? mesh.ep : 1;
  if (ep == mesh.ep || !config.experts) {
    for (const int tp : NearestFits(mesh.tp, [&](int size) { return fits(ep, size); })) {
      found.push_back({.pp = pp, .ep = ep, .tp = tp});
    }
    return found;
  }
  const int tp = IsPowerOfTwo(mesh.tp) && fits(1, mesh.tp) ? mesh.tp : 1;
  for (const int size : NearestFits(mesh.ep, [&](int groups) { return fits(groups, tp); })) {
    found.push_back({.pp = pp, .ep = size, .tp = tp});
  }
  return found;
}

std::string Flags(const Mesh& mesh) {
  const std::string dense = absl::StrFormat("--tp %d --pp %d", mesh.tp, mesh.pp);
  return mesh.ep == 1 ? dense : absl::StrFormat("%s --ep %d", dense, mesh.ep);
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
          .shards = mesh.shards(),
          .expert_groups = mesh.ep};
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
      absl::StrJoin(NearestMeshes(config, mesh), " or ",
                    [](std::string* out, const Mesh& fits) { out->append(Flags(fits)); });
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
