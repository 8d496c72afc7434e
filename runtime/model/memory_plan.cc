#include "runtime/model/memory_plan.h"

#include <algorithm>

#include "runtime/base/check.h"
#include "runtime/base/status_macros.h"

namespace trireme {

StepScratch ScratchOf(const ModelConfig& config, const Extent& extent, const StepLimits& limits) {
  const int64_t rows = limits.max_step_tokens;
  const int64_t routed_rows = config.experts ? rows : 0;
  const int64_t slots = config.experts ? rows * config.experts->per_token : 0;
  const int64_t head_rows = extent.last_stage() ? kHeadRows : 0;
  const Shape hidden{rows, config.hidden};
  const Shape query{rows, extent.heads.query_heads.size() * config.head_dim};
  const Shape key{rows, extent.heads.kv_heads.size() * config.head_dim};
  const Shape mlp{rows, extent.mlp.columns.size()};
  const Shape expert{slots, extent.routed_expert.columns.size()};
  const Shape shared{routed_rows, extent.shared_expert.columns.size()};
  const bool alone = extent.first_stage() && extent.last_stage();
  return {.hidden = {alone ? rows : 0, config.hidden},
          .normed = hidden,
          .handed = {alone ? 0 : kRowBuffers, kRowHeaderFloats + rows * config.hidden},
          .partial = {rows + slots, config.hidden},
          .query = query,
          .attended = query,
          .key = key,
          .value = key,
          .gate = mlp,
          .up = mlp,
          .router_logits = {routed_rows, config.experts ? config.experts->count : 0},
          .expert_rows = {slots, config.hidden},
          .expert_gate = expert,
          .expert_up = expert,
          .shared_gate = shared,
          .shared_up = shared,
          .head_rows = {head_rows, config.hidden},
          .shard_logits = {head_rows, extent.vocabulary.size()},
          .sample_work = {head_rows, extent.vocabulary.size()},
          .rope = {limits.max_positions, config.head_dim / 2},
          .query_scales = {config.query_growth ? limits.max_positions : 0, 1}};
}

int64_t StepScratch::bytes() const {
  int64_t elements = 2 * rope.elements();
  for (const Shape& shape :
       {hidden,      normed,    handed,    partial,       query,       attended,    key,
        value,       gate,      up,        router_logits, expert_rows, expert_gate, expert_up,
        shared_gate, shared_up, head_rows, shard_logits,  sample_work, query_scales}) {
    elements += shape.elements();
  }
  return elements * int64_t{sizeof(float)};
}

int64_t ChunkPagesFor(const ModelConfig& config, int64_t sequences, const MemoryOptions& options) {
  const int64_t chunk = std::min(AttentionChunk(config), options.limits.max_positions);
  const int64_t pages = (chunk + options.page_tokens - 1) / options.page_tokens;
  return std::min(options.pages, sequences * pages);
}

PagePoolShape PoolShapeOf(const ModelConfig& config, const Extent& extent,
                          const MemoryOptions& options) {
  return {.chunked = ChunkedLayers(config, extent),
          .pages = options.pages,
          .chunk_pages = options.chunk_pages,
          .kv_heads = extent.heads.kv_heads.size(),
          .page_tokens = options.page_tokens,
          .head_dim = config.head_dim,
          .dtype = options.kv_dtype};
}

absl::StatusOr<StoredTypes> ReadStoredTypes(const TensorTable& table, const TensorSource& source) {
  StoredTypes types;
  for (const TensorSpec& spec : table) {
    const auto entry = FindChecked(source, spec);
    if (source.holds_slices() && absl::IsNotFound(entry.status())) {
      types.emplace_back();
      continue;
    }
    TRI_RETURN_IF_ERROR(entry.status());
    if (*entry != nullptr && !source.holds_slices()) {
      TRI_RETURN_IF_ERROR(CheckWhole(spec, **entry));
    }
    if (*entry == nullptr) {
      types.emplace_back();
      continue;
    }
    const DType dtype = (*entry)->view.dtype;
    types.emplace_back(source.holds_slices() ? dtype : StoredTypeOf(spec, dtype));
  }
  return types;
}

int64_t WeightBytes(const StoredTable& stored, const Extent& extent) {
  TRI_CHECK_EQ(stored.table.size(), stored.types.size());
  int64_t bytes = 0;
  for (size_t i = 0; i < stored.table.size(); ++i) {
    if (!stored.types[i]) continue;
    const std::optional<Slice> slice = SliceFor(stored.table[i], extent);
    if (slice) bytes += StoredBytes(stored.table[i], *slice, *stored.types[i]);
  }
  return bytes;
}

MemoryPlan PlanMemory(int64_t weight_bytes, const ModelConfig& config, const Extent& extent,
                      const MemoryOptions& options) {
  return {.weights = weight_bytes,
          .kv = PoolShapeOf(config, extent, options).bytes(),
          .scratch = ScratchOf(config, extent, options.limits).bytes()};
}

}  // namespace trireme
