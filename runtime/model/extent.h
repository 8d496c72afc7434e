// What one rank holds of a model: its stage's layers, and its share of heads, MLP width and
// vocabulary. Loading, sharding, memory accounting and the forward pass all read the same numbers
// from here.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/model/config.h"
#include "runtime/tensor/sum_tree.h"

namespace trireme {

// Leaves that an MLP's width is cut into, whatever the mesh.
inline constexpr int kMlpLeaves = 8;

// A rank's place: stage of `stages`, shard of `shards` (a power of two) within the stage. Routed
// experts are dealt to `expert_groups` (which divides shards) groups of neighbouring shards; within
// its group a shard holds a slice of each.
struct Place {
  int stage = 0;
  int stages = 1;
  int shard = 0;
  int shards = 1;
  int expert_groups = 1;
};

struct Extent {
  Place place;
  // Of a dense model: so many that each stage has the same work a token, the last one's head
  // counted (SmolLM2 on two stages: 19 and 11 layers). Of a model with routed experts, whose layers
  // fill memory rather than time: equal shares.
  Range layers;
  HeadSplit heads;
  WidthSplit mlp;
  WidthSplit shared_expert;
  Range routed_experts;                    // held by this rank's group
  WidthSplit routed_expert;                // of each of them
  Range vocabulary;                        // rows of the embedding and of the head
  std::vector<int64_t> vocabulary_widths;  // of every shard of the stage, in order

  bool first_stage() const { return place.stage == 0; }
  bool last_stage() const { return place.stage + 1 == place.stages; }
};

// Which of the stage's layers keep only the current chunk of a sequence.
std::vector<bool> ChunkedLayers(const ModelConfig& config, const Extent& extent);

// INVALID_ARGUMENT when a stage would have no layer, or a rank no head, MLP leaf or vocabulary row;
// the message says which and what works.
absl::StatusOr<Extent> MakeExtent(const ModelConfig& config, const Place& place);

}  // namespace trireme
