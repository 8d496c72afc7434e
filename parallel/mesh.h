// Who sits where. A group has pp × ep × tp ranks: pp stages of whole layers, and in each stage
// ep × tp shards (a power of two, because the tree of summation halves once a bit). Ranks are
// numbered stage by stage, and within a stage expert group by expert group:
//
//   rank = (stage * ep + expert) * tp + tensor        pp=2 tp=2:  stage 0 = ranks 0 1
//   shard = expert * tp + tensor                                  stage 1 = ranks 2 3
//
// Rank 0 leads. Pure arithmetic: nothing here knows a process or a message.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "runtime/model/config.h"
#include "runtime/model/extent.h"

namespace trireme {

struct Mesh {
  int pp = 1;
  int ep = 1;
  int tp = 1;

  int shards() const { return ep * tp; }  // ranks of a stage
  int ranks() const { return pp * shards(); }
  std::string ToString() const;  // "pp=2 tp=4", with ep where it is not 1
  friend bool operator==(const Mesh&, const Mesh&) = default;
};

struct Coordinate {
  int stage = 0;
  int expert = 0;
  int tensor = 0;
  friend bool operator==(const Coordinate&, const Coordinate&) = default;
};

inline constexpr int kLeaderRank = 0;
// Bounds of what a command line or a file may ask for, so that products of axes stay small.
inline constexpr int kMaxStages = 4096;
inline constexpr int kMaxShards = 1024;

// rank in [0, mesh.ranks()); coordinates inside the mesh.
Coordinate CoordinateOf(const Mesh& mesh, int rank);
int RankOf(const Mesh& mesh, const Coordinate& coordinate);
Place PlaceOf(const Mesh& mesh, int rank);

// The rank of the same shard in the stage before or after; nullopt at the ends.
std::optional<int> PreviousStageRank(const Mesh& mesh, int rank);
std::optional<int> NextStageRank(const Mesh& mesh, int rank);

// INVALID_ARGUMENT unless every rank of the mesh has a layer, a head, an MLP leaf and a vocabulary
// row of the model; the message says what is wrong and names the nearest meshes that fit.
absl::Status CheckMesh(const ModelConfig& config, const Mesh& mesh);

// INVALID_ARGUMENT unless a job of `world` processes is what the mesh needs.
absl::Status CheckWorld(const Mesh& mesh, int world);

}  // namespace trireme
