// How long a step takes, by a roofline: each matrix costs the larger of reading its bytes and doing
// its arithmetic, attention the same over keys and values, and to that come the passes over
// activations, the start of each verb, the exchanges of every tree sum, the hops between stages and
// a step's bookkeeping. (Williams, Waterman and Patterson, "Roofline", 2009; the collectives are
// those of parallel/comm: recursive halving over the bits of the shard, pairwise.)
//
// A stage's ranks meet at every sum, so its time is its slowest rank's. Stages run one after
// another: an executor has one plan in flight.
//
// Ranks are placed node by node, in rank order. Where a node has more ranks than devices, its
// devices share the ranks' work evenly: one that waits leaves its device to another.
#pragma once

#include <cstdint>
#include <vector>

#include "launcher/planner/cluster.h"
#include "launcher/planner/rank_load.h"
#include "parallel/mesh.h"
#include "runtime/model/config.h"

namespace trireme {

struct StepShape {
  double rows = 1;       // tokens of the step
  double sequences = 1;  // whose keys are read
  double context = 0;    // positions that a row sees, on average
  double samples = 1;    // rows of logits
};

struct StepSeconds {
  double weights = 0;      // matrix products
  double attention = 0;    // keys and values
  double activations = 0;  // passes over activations, and the start of verbs
  double collectives = 0;  // tree sums and the gathering of logits
  double hops = 0;         // between stages, and back to the leader
  double step = 0;         // bookkeeping and the sampler

  double total() const { return weights + attention + activations + collectives + hops + step; }
  StepSeconds& operator+=(const StepSeconds& other);
  StepSeconds operator/(double divisor) const;
};

// Positions of `context` that a layer's attention sees and keeps.
int64_t VisiblePositions(const ModelConfig& config, int64_t layer, int64_t context);

class CostModel {
 public:
  // `loads`: of every rank of the mesh. All must outlive the model.
  CostModel(const Cluster& cluster, const ModelConfig& config, const Mesh& mesh,
            const std::vector<RankLoad>& loads, DType kv_dtype);

  StepSeconds Step(const StepShape& shape) const;
  // One token for each of `sequences` that have `context` positions.
  StepSeconds Decode(int64_t sequences, int64_t context) const;
  // A prompt in chunks of at most `max_step_tokens`, up to its first token.
  StepSeconds Prefill(int64_t prompt, int64_t max_step_tokens) const;

  int NodeOf(int rank) const { return rank / ranks_per_node_; }
  // Ranks of a stage that share a device at the same time, at most.
  int Turns(int stage) const;

 private:
  // Of a rank's routed experts in a step: tokens that meet each, and the share of them touched, of
  // the expert group that has most to do.
  struct RoutedShare {
    double rows = 0;
    double touched = 0;
  };
  RoutedShare Routed(const RankLoad& load, const StepShape& shape) const;
  // Until the last rank of the stage has computed, waiting for none.
  StepSeconds ComputeSeconds(int stage, const StepShape& shape) const;
  double MatrixSeconds(const RankLoad& load, const StepShape& shape) const;
  double AttentionSeconds(const RankLoad& load, const StepShape& shape) const;
  double ActivationSeconds(const RankLoad& load, const StepShape& shape) const;
  double CollectiveSeconds(int stage, const StepShape& shape) const;
  double HopSeconds(const StepShape& shape) const;
  // One tree sum of so many bytes over a stage's ranks.
  double TreeSumSeconds(int stage, double bytes) const;
  const Link& LinkBetween(int rank, int other) const;
  // Of a rank's stage on its node, that compute at once.
  int RunningWith(int rank) const;

  const Cluster& cluster_;
  const ModelConfig& config_;
  const Mesh& mesh_;
  const std::vector<RankLoad>& loads_;
  const DType kv_dtype_;
  const int ranks_per_node_;
};

}  // namespace trireme
