#include "runtime/model/extent.h"

#include <bit>

#include "absl/strings/str_format.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

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
  extent.layers = {config.layers * place.stage / place.stages,
                   config.layers * (place.stage + 1) / place.stages};
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
