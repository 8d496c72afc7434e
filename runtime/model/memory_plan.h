// What a rank holds in memory, before it holds anything: bytes of weights, KV pages and scratch at
// a place of a mesh. The planner searches meshes by these numbers and a group refuses to start by
// them. The stage allocates from the same shapes (StepScratch, PagePoolShape) and binds the same
// slices (tensor_table.h), so that there is no second account to disagree with.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/checkpoint/tensor_source.h"
#include "runtime/kv/page_pool.h"
#include "runtime/model/config.h"
#include "runtime/model/extent.h"
#include "runtime/model/tensor_table.h"

namespace trireme {

// What a group holds that is told nothing else, and a plan assumes. Rotary tables and page lists
// grow with the positions; a longer context is asked for by name.
inline constexpr int64_t kPageTokens = 32;
inline constexpr int64_t kDefaultMaxPositions = 131'072;

// Rows of logits computed, and samples taken, at a time.
inline constexpr int64_t kHeadRows = 64;

// Where a model has several stages, hidden rows live in two buffers, each with a header of so many
// floats before them (parallel/pipeline/stage_link.h): one is worked on while the other is on its
// way.
inline constexpr int64_t kRowBuffers = 2;
inline constexpr int64_t kRowHeaderFloats = 128;

// The buffers that a step's activations pass through on one rank, all fp32. Those that a rank does
// not need (of the last stage, of routed layers) have no rows.
struct StepScratch {
  Shape hidden, normed;          // [max step tokens, hidden]; `hidden` where there is one stage
  Shape handed;                  // [kRowBuffers, kRowHeaderFloats + max step tokens * hidden]
  Shape partial;                 // [max step tokens * (1 + experts a token), hidden]
  Shape query, attended;         // [max step tokens, rank's query heads * head_dim]
  Shape key, value;              // [max step tokens, rank's kv heads * head_dim]
  Shape gate, up;                // [max step tokens, rank's MLP columns]
  Shape router_logits;           // [max step tokens, experts]
  Shape expert_rows;             // [max step tokens * experts a token, hidden]
  Shape expert_gate, expert_up;  // [the same, rank's columns of a routed expert]
  Shape shared_gate, shared_up;  // [max step tokens, rank's columns of the shared expert]
  Shape head_rows;               // [kHeadRows, hidden], last stage
  Shape shard_logits;            // [kHeadRows, rank's vocabulary], last stage
  Shape sample_work;             // the same, for the sampler
  Shape rope;                    // [max positions, head_dim / 2], of cosines and of sines

  Shape query_scales;  // [max positions, 1], where Q grows with the position

  int64_t bytes() const;
};

// What a step works on at most.
struct StepLimits {
  int64_t max_step_tokens = 256;
  int64_t max_positions = 0;
};

StepScratch ScratchOf(const ModelConfig& config, const Extent& extent, const StepLimits& limits);

// What a stage is asked to hold.
struct MemoryOptions {
  DType kv_dtype = DType::kF16;
  int64_t pages = 0;
  int64_t chunk_pages = 0;  // of layers that keep only the current chunk, where there are some
  int64_t page_tokens = kPageTokens;
  StepLimits limits;
};

// Pages of chunked layers that let every set of so many sequences run that fits `options.pages` of
// the others; 0 for a model without such layers.
int64_t ChunkPagesFor(const ModelConfig& config, int64_t sequences, const MemoryOptions& options);

PagePoolShape PoolShapeOf(const ModelConfig& config, const Extent& extent,
                          const MemoryOptions& options);

// The dtype that each row of a table is stored in; nullopt where the source has no such tensor.
using StoredTypes = std::vector<std::optional<DType>>;

// From headers alone. NOT_FOUND or INVALID_ARGUMENT as FindChecked and CheckWhole; of a rank's
// shard, rows that the rank does not hold are nullopt.
absl::StatusOr<StoredTypes> ReadStoredTypes(const TensorTable& table, const TensorSource& source);

// A table with the dtypes of an actual checkpoint.
struct StoredTable {
  const TensorTable& table;
  const StoredTypes& types;
};

// Equal to Weights::bytes() of the same place.
int64_t WeightBytes(const StoredTable& stored, const Extent& extent);

struct MemoryPlan {
  int64_t weights = 0;  // bytes of the slices
  int64_t kv = 0;       // of the page pool
  int64_t scratch = 0;  // of a step's activations and the rotary table

  int64_t total() const { return weights + kv + scratch; }
};

MemoryPlan PlanMemory(int64_t weight_bytes, const ModelConfig& config, const Extent& extent,
                      const MemoryOptions& options);

}  // namespace trireme
