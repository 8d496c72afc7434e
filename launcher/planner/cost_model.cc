#include "launcher/planner/cost_model.h"

#include <algorithm>
#include <cmath>

#include "runtime/base/check.h"

namespace trireme {
namespace {

constexpr double kFloatBytes = 4;
// Two norms, seven products, two rotations, keys and values stored, attention, the gate, two
// additions.
constexpr double kVerbsPerLayer = 16;
// Of a layer: the sums after attention and after the MLP.
constexpr double kSumsPerLayer = 2;

// Bytes that the passes over activations read and write for one token of one layer.
double ActivationBytes(const ModelConfig& config, const Extent& extent, const LayerKind& kind) {
  const auto hidden = static_cast<double>(config.hidden);
  const auto heads =
      static_cast<double>(extent.heads.query_heads.size() + extent.heads.kv_heads.size());
  auto mlp = static_cast<double>(extent.mlp.columns.size());
  if (kind.routed) {
    mlp = static_cast<double>(extent.shared_expert.columns.size() +
                              config.experts->per_token * extent.routed_expert.columns.size());
  }
  // Norms and additions: 2 × (2 + 3) passes over the hidden row; rotations and stores: 2 × each
  // head; the gate: 3 over the MLP's columns.
  return kFloatBytes * (10 * hidden + 4 * heads * static_cast<double>(config.head_dim) + 3 * mlp);
}

int RanksPerNode(const Cluster& cluster, const Mesh& mesh) {
  const int spread = (mesh.ranks() + cluster.nodes - 1) / cluster.nodes;
  return std::max(cluster.devices_per_node, spread);
}

}  // namespace

StepSeconds& StepSeconds::operator+=(const StepSeconds& other) {
  weights += other.weights;
  attention += other.attention;
  activations += other.activations;
  collectives += other.collectives;
  hops += other.hops;
  step += other.step;
  return *this;
}

StepSeconds StepSeconds::operator/(double divisor) const {
  return {.weights = weights / divisor,
          .attention = attention / divisor,
          .activations = activations / divisor,
          .collectives = collectives / divisor,
          .hops = hops / divisor,
          .step = step / divisor};
}

int64_t VisiblePositions(const ModelConfig& config, int64_t layer, int64_t context) {
  const int64_t chunk = config.kind(layer).chunk;
  return chunk > 0 ? std::min(chunk, context) : context;
}

CostModel::CostModel(const Cluster& cluster, const ModelConfig& config, const Mesh& mesh,
                     const std::vector<RankLoad>& loads, DType kv_dtype)
    : cluster_(cluster),
      config_(config),
      mesh_(mesh),
      loads_(loads),
      kv_dtype_(kv_dtype),
      ranks_per_node_(RanksPerNode(cluster, mesh)) {
  TRI_CHECK_EQ(static_cast<int>(loads.size()), mesh.ranks());
}

int CostModel::RunningWith(int rank) const {
  const int first = rank / mesh_.shards() * mesh_.shards();
  int ranks = 0;
  for (int other = first; other < first + mesh_.shards(); ++other) {
    ranks += NodeOf(other) == NodeOf(rank) ? 1 : 0;
  }
  return ranks;
}

int CostModel::Turns(int stage) const {
  const int most = RunningWith(stage * mesh_.shards());
  return (most + cluster_.devices_per_node - 1) / cluster_.devices_per_node;
}

CostModel::RoutedShare CostModel::Routed(const RankLoad& load, const StepShape& shape) const {
  const ExpertConfig& experts = *config_.experts;
  const auto held = static_cast<double>(load.extent.routed_experts.size());
  const double assigned = shape.rows * static_cast<double>(experts.per_token);
  // Tokens are not dealt evenly: a sum waits for the expert group that has most to do, which lies
  // above the mean by about this much.
  const auto busiest = [&](double mean, double most) {
    const double spread = std::sqrt(2 * mean * std::log(static_cast<double>(mesh_.ep)));
    return std::clamp(mean + (mesh_.ep > 1 ? spread : 0.0), std::min(1.0, most), most);
  };
  const double touched =
      busiest(held * ShareOfExperts(config_, shape.rows), std::min(held, assigned));
  const double tokens = busiest(assigned * held / static_cast<double>(experts.count), assigned);
  return {.rows = tokens / held, .touched = touched / held};
}

double CostModel::MatrixSeconds(const RankLoad& load, const StepShape& shape) const {
  const int running = std::min(RunningWith(load.rank), cluster_.devices_per_node);
  double seconds = 0;
  for (const MatrixGroup& group : load.matrices) {
    const Rate rate = cluster_.RateOf(group.form, running);
    double rows = shape.rows;
    double share = 1;
    if (group.use == Use::kSampledTokens) {
      rows = shape.samples;
    } else if (group.use == Use::kRoutedTokens) {
      const RoutedShare routed = Routed(load, shape);
      rows = routed.rows;
      share = routed.touched;
    }
    if (rows == 0) continue;
    seconds += std::max(share * static_cast<double>(group.bytes) / rate.read_bytes_per_s,
                        2 * rows * static_cast<double>(group.elements) / rate.flops_per_s);
  }
  return seconds;
}

double CostModel::AttentionSeconds(const RankLoad& load, const StepShape& shape) const {
  const HeadSplit& heads = load.extent.heads;
  const double row_bytes =
      2.0 * static_cast<double>(heads.kv_heads.size() * RowBytes(kv_dtype_, config_.head_dim));
  double seconds = 0;
  for (int64_t layer = load.extent.layers.begin; layer < load.extent.layers.end; ++layer) {
    const auto seen = static_cast<double>(
        VisiblePositions(config_, layer, static_cast<int64_t>(std::llround(shape.context))));
    const double flops =
        4 * shape.rows * seen * static_cast<double>(heads.query_heads.size() * config_.head_dim);
    seconds += std::max(shape.sequences * seen * row_bytes / cluster_.attention_bytes_per_s,
                        flops / cluster_.attention_flops_per_s);
  }
  return seconds;
}

double CostModel::ActivationSeconds(const RankLoad& load, const StepShape& shape) const {
  double seconds = 0;
  for (int64_t layer = load.extent.layers.begin; layer < load.extent.layers.end; ++layer) {
    const LayerKind& kind = config_.kind(layer);
    seconds +=
        (kind.routed ? 2 : 1) * kVerbsPerLayer * cluster_.verb_s +
        shape.rows * ActivationBytes(config_, load.extent, kind) / cluster_.elementwise_bytes_per_s;
  }
  return seconds;
}

const Link& CostModel::LinkBetween(int rank, int other) const {
  return NodeOf(rank) == NodeOf(other) ? cluster_.node_link : cluster_.network;
}

double CostModel::TreeSumSeconds(int stage, double bytes) const {
  const int first = stage * mesh_.shards();
  double seconds = 0;
  for (int mask = 1; mask < mesh_.shards(); mask <<= 1) {
    double slowest = 0;
    for (int shard = 0; shard < mesh_.shards(); ++shard) {
      const Link& link = LinkBetween(first + shard, first + (shard ^ mask));
      slowest = std::max(slowest, link.Seconds(bytes));
    }
    const int turns = Turns(stage);
    seconds += turns > 1 ? turns * slowest + cluster_.switch_s : slowest;
  }
  return seconds;
}

double CostModel::CollectiveSeconds(int stage, const StepShape& shape) const {
  if (mesh_.shards() == 1) return 0;
  const Extent& extent = loads_[static_cast<size_t>(stage * mesh_.shards())].extent;
  const double bytes = shape.rows * static_cast<double>(config_.hidden) * kFloatBytes;
  const double sum = TreeSumSeconds(stage, bytes);
  double seconds = extent.first_stage() ? sum : 0;
  for (int64_t layer = extent.layers.begin; layer < extent.layers.end; ++layer) {
    seconds += kSumsPerLayer * sum;
    if (!config_.kind(layer).routed) continue;
    // The routed experts' sums travel with the shared one's, a row for each expert of a token.
    const auto per_token = static_cast<double>(config_.experts->per_token);
    seconds += TreeSumSeconds(stage, bytes * (1 + per_token)) - sum;
  }
  if (!extent.last_stage() || shape.samples == 0) return seconds;
  const double slice =
      shape.samples * static_cast<double>(config_.vocabulary) * kFloatBytes / mesh_.shards();
  const int first = stage * mesh_.shards();
  for (int shift = 1; shift < mesh_.shards(); ++shift) {
    seconds += LinkBetween(first, first + shift).Seconds(slice);
  }
  return seconds;
}

double CostModel::HopSeconds(const StepShape& shape) const {
  if (mesh_.ranks() == 1) return 0;
  const int last = mesh_.ranks() - 1;
  // The plan on its way out, and the tokens on theirs back.
  double seconds = 2 * LinkBetween(kLeaderRank, last).latency_s;
  const double bytes = shape.rows * static_cast<double>(config_.hidden) * kFloatBytes;
  for (int stage = 0; stage + 1 < mesh_.pp; ++stage) {
    const int from = stage * mesh_.shards();
    seconds += LinkBetween(from, from + mesh_.shards()).Seconds(bytes);
  }
  return seconds;
}

StepSeconds CostModel::ComputeSeconds(int stage, const StepShape& shape) const {
  StepSeconds longest;
  StepSeconds of_node;
  for (int shard = 0; shard < mesh_.shards(); ++shard) {
    const int rank = stage * mesh_.shards() + shard;
    const RankLoad& load = loads_[static_cast<size_t>(rank)];
    const StepSeconds own{.weights = MatrixSeconds(load, shape),
                          .attention = AttentionSeconds(load, shape),
                          .activations = ActivationSeconds(load, shape)};
    if (shard == 0 || NodeOf(rank) != NodeOf(rank - 1)) of_node = {};
    of_node += own;
    for (const StepSeconds& bound : {own, of_node / cluster_.devices_per_node}) {
      if (bound.total() > longest.total()) longest = bound;
    }
  }
  return longest;
}

StepSeconds CostModel::Step(const StepShape& shape) const {
  StepSeconds total;
  for (int stage = 0; stage < mesh_.pp; ++stage) {
    total += ComputeSeconds(stage, shape);
    total.collectives += CollectiveSeconds(stage, shape);
  }
  total.hops = HopSeconds(shape);
  total.step = cluster_.step_s + shape.samples * static_cast<double>(config_.vocabulary) *
                                     cluster_.sample_s_per_logit;
  return total;
}

StepSeconds CostModel::Decode(int64_t sequences, int64_t context) const {
  const auto rows = static_cast<double>(sequences);
  return Step(
      {.rows = rows, .sequences = rows, .context = static_cast<double>(context), .samples = rows});
}

StepSeconds CostModel::Prefill(int64_t prompt, int64_t max_step_tokens) const {
  StepSeconds total;
  for (int64_t begin = 0; begin < prompt; begin += max_step_tokens) {
    const int64_t end = std::min(prompt, begin + max_step_tokens);
    total += Step({.rows = static_cast<double>(end - begin),
                   .sequences = 1,
                   .context = static_cast<double>(begin + end) / 2,
                   .samples = end == prompt ? 1.0 : 0.0});
  }
  return total;
}

}  // namespace trireme
