#include "launcher/planner/rank_load.h"

#include <algorithm>
#include <cmath>

#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

bool IsHead(const TensorSpec& spec, const Extent& extent) {
  return spec.along == Along::kVocabulary && extent.last_stage() &&
         spec.holder != Holder::kFirstStage;
}

bool IsLookup(const TensorSpec& spec, const Extent& extent) {
  return spec.along == Along::kVocabulary && !IsHead(spec, extent);
}

void AddMatrix(const MatrixGroup& matrix, std::vector<MatrixGroup>& groups) {
  for (MatrixGroup& group : groups) {
    if (group.form != matrix.form || group.use != matrix.use) continue;
    group.bytes += matrix.bytes;
    group.elements += matrix.elements;
    return;
  }
  groups.push_back(matrix);
}

int64_t MappedSlice(const TensorSpec& spec, const Slice& slice, DType dtype) {
  const int64_t held = StoredBytes(spec, slice, dtype);
  const int rank = spec.shape.rank();
  const int64_t rows = slice.rows.size() * slice.experts.size();
  if (rank == 1 || rows == 0) return held;
  const int64_t row = held / rows;
  // Of a part of a larger tensor, its share of the row: the gaps are other parts, counted there.
  const int64_t stride = RowBytes(dtype, spec.shape[rank - 1]);
  if (row < stride) return rows * std::min(stride, row + kFaultAround);
  const int64_t whole_rows = spec.shape[rank - 2];
  const int ends = (slice.rows.begin > 0 ? 1 : 0) + (slice.rows.end < whole_rows ? 1 : 0);
  return slice.experts.size() *
         std::min(whole_rows * stride, slice.rows.size() * stride + ends * kFaultAround / 2);
}

Use UseOf(const TensorSpec& spec, const Extent& extent) {
  if (IsRouted(spec)) return Use::kRoutedTokens;
  return IsHead(spec, extent) ? Use::kSampledTokens : Use::kEveryToken;
}

// `whole`: the source has whole tensors.
RankLoad LoadOf(const StoredTable& stored, const Extent& extent, bool whole) {
  RankLoad load;
  load.extent = extent;
  for (size_t i = 0; i < stored.table.size(); ++i) {
    const TensorSpec& spec = stored.table[i];
    if (!stored.types[i]) continue;
    const std::optional<Slice> slice = SliceFor(spec, extent);
    if (!slice) continue;
    const DType dtype = *stored.types[i];
    const int64_t bytes = StoredBytes(spec, *slice, dtype);
    load.weight_bytes += bytes;
    if (spec.shape.rank() > 1 && IsLookup(spec, extent)) {
      load.lookup_bytes += bytes;
      load.lookup_row_bytes = bytes / std::max<int64_t>(1, slice->rows.size());
      continue;
    }
    (IsRouted(spec) ? load.mapped_routed_bytes : load.mapped_bytes) +=
        whole ? MappedSlice(spec, *slice, dtype) : bytes;
    if (spec.shape.rank() == 1) continue;
    AddMatrix({.form = {.dtype = dtype, .input_major = spec.input_major},
               .use = UseOf(spec, extent),
               .bytes = bytes,
               .elements = slice->rows.size() * slice->columns.size() * slice->experts.size()},
              load.matrices);
  }
  return load;
}

}  // namespace

absl::StatusOr<PlannedModel> PlanModel(const ModelSource& source) {
  PlannedModel model{.source = source, .types = StoredTypes(source.table.size())};
  // A rank of a shard directory knows its own tensors only.
  const int ranks = source.sharded() ? source.mesh()->ranks() : 1;
  for (int rank = 0; rank < ranks; ++rank) {
    TRI_ASSIGN_OR_RETURN(const std::shared_ptr<const TensorSource> tensors, source.TensorsOf(rank));
    TRI_ASSIGN_OR_RETURN(const StoredTypes types, ReadStoredTypes(source.table, *tensors));
    for (size_t i = 0; i < types.size(); ++i) {
      if (types[i]) model.types[i] = types[i];
    }
  }
  return model;
}

double ShareOfExperts(const ModelConfig& config, double tokens) {
  const double chance =
      static_cast<double>(config.experts->per_token) / static_cast<double>(config.experts->count);
  return chance >= 1 ? 1 : -std::expm1(tokens * std::log1p(-chance));
}

absl::StatusOr<std::vector<RankLoad>> LoadsOf(const PlannedModel& model, const Mesh& mesh) {
  std::vector<RankLoad> loads;
  // What is quantised will be sharded.
  const bool whole = !model.source.sharded() && model.source.quantization == Quantization::kNone;
  for (int rank = 0; rank < mesh.ranks(); ++rank) {
    TRI_ASSIGN_OR_RETURN(const Extent extent, MakeExtent(model.source.config, PlaceOf(mesh, rank)));
    loads.push_back(LoadOf(model.stored(), extent, whole));
    loads.back().rank = rank;
  }
  return loads;
}

}  // namespace trireme
