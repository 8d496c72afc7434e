#include "runtime/model/extent.h"

#include <algorithm>
#include <bit>

#include "absl/strings/str_format.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

// Multiply-adds that a token costs in one layer of a dense model, and in the head.
int64_t LayerCost(const ModelConfig& config) {
  const int64_t heads = 2 * (config.query_heads + config.kv_heads);
  return config.hidden * (heads * config.head_dim + 3 * config.intermediate);
}
int64_t HeadCost(const ModelConfig& config) { return config.hidden * config.vocabulary; }

// The first layer of a stage; the stage after the last begins where the layers end.
int64_t FirstLayer(const ModelConfig& config, int stage, int stages) {
  const int64_t even = config.layers * stage / stages;
  if (config.experts || stage == 0 || stage == stages) return even;
  // The head is worth so many layers of the last stage; halves round down.
  const int64_t head = HeadCost(config) / LayerCost(config);
  const int64_t weighed = (config.layers + head) * stage / stages;
  return std::min(weighed, config.layers - (stages - stage));
}

absl::Status SplitExperts(const ExpertConfig& experts, Extent& extent) {
  const Place& place = extent.place;
  const int slices = place.shards / place.expert_groups;
  extent.shared_expert = SplitWidth(experts.width, kMlpLeaves, place.shard, place.shards);
  extent.routed_experts = SubtreeItems(experts.count, place.shard / slices, place.expert_groups);
  extent.routed_expert = SplitWidth(experts.width, kMlpLeaves, place.shard % slices, slices);
  if (extent.routed_experts.empty()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("ep must leave every rank a routed expert: the model has %d; got ep=%d",
                        experts.count, place.expert_groups));
  }
  if (extent.shared_expert.columns.empty() || extent.routed_expert.columns.empty()) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "ep times tp must leave every rank one of the %d leaves of the shared expert's %d columns; "
        "got ep=%d tp=%d",
        kMlpLeaves, experts.width, place.expert_groups, slices));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Extent> MakeExtent(const ModelConfig& config, const Place& place) {
  if (place.shards < 1 || !std::has_single_bit(static_cast<unsigned>(place.shards))) {
    return absl::InvalidArgumentError(
        absl::StrFormat("tp must be a power of two; got tp=%d", place.shards));
  }
  if (place.stages < 1 || place.stages > config.layers) {
    return absl::InvalidArgumentError(
        absl::StrFormat("pp must leave every stage a layer: the model has %d layers; got pp=%d",
                        config.layers, place.stages));
  }
  Extent extent;
  extent.place = place;
  extent.layers = {FirstLayer(config, place.stage, place.stages),
                   FirstLayer(config, place.stage + 1, place.stages)};
  extent.heads =
      SplitHeads(config.query_heads, config.kv_heads, config.head_dim, place.shard, place.shards);
  extent.mlp = SplitWidth(config.intermediate, kMlpLeaves, place.shard, place.shards);
  extent.vocabulary = SubtreeItems(config.vocabulary, place.shard, place.shards);
  for (int shard = 0; shard < place.shards; ++shard) {
    extent.vocabulary_widths.push_back(SubtreeItems(config.vocabulary, shard, place.shards).size());
  }
  if (extent.heads.query_heads.empty() || extent.mlp.columns.empty() || extent.vocabulary.empty()) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "tp must leave every rank an attention head (the model has %d over %d KV heads), one of %d "
        "MLP leaves and a vocabulary row; got tp=%d, which leaves shard %d without",
        config.query_heads, config.kv_heads, kMlpLeaves, place.shards, place.shard));
  }
  if (config.experts) TRI_RETURN_IF_ERROR(SplitExperts(*config.experts, extent));
  return extent;
}

std::vector<bool> ChunkedLayers(const ModelConfig& config, const Extent& extent) {
  std::vector<bool> chunked;
  for (int64_t layer = extent.layers.begin; layer < extent.layers.end; ++layer) {
    chunked.push_back(config.kind(layer).chunk != 0);
  }
  return chunked;
}

}  // namespace trireme
