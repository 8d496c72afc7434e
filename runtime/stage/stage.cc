#include "runtime/stage/stage.h"

#include "absl/strings/str_format.h"
#include "runtime/base/check.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

BatchLimits LimitsOf(const ModelConfig& config, const StageOptions& options) {
  return {.rows = options.max_step_tokens,
          .vocabulary = config.vocabulary,
          .max_positions = options.max_positions,
          .pages = options.pages,
          .chunk = AttentionChunk(config),
          .chunk_pages = options.chunk_pages,
          .page_tokens = options.page_tokens};
}

MemoryOptions MemoryOf(const StageOptions& options) {
  return {.kv_dtype = options.kv_dtype,
          .pages = options.pages,
          .chunk_pages = options.chunk_pages,
          .page_tokens = options.page_tokens,
          .limits = {.max_step_tokens = options.max_step_tokens,
                     .max_positions = options.max_positions}};
}

Tensor Floats(const Shape& shape) { return Tensor(DType::kF32, shape); }

TensorView First(Tensor& tensor, int64_t rows) { return tensor.view().Rows({0, rows}); }

}  // namespace

absl::StatusOr<std::unique_ptr<Stage>> Stage::Create(StageParts parts,
                                                     const StageOptions& options) {
  StageOptions resolved = options;
  if (resolved.max_positions == 0) resolved.max_positions = parts.config.max_positions;
  TRI_RETURN_IF_ERROR(CheckKvDType(resolved.kv_dtype, parts.config.head_dim));
  if (resolved.page_tokens < 1 || resolved.pages < 1 || resolved.max_step_tokens < 1) {
    return absl::InvalidArgumentError("pages, page_tokens and max_step_tokens must be positive");
  }
  if (parts.config.vocabulary > kMaxVocabulary) {
    return absl::InvalidArgumentError(absl::StrFormat("at most %d tokens can be sampled; got %d",
                                                      kMaxVocabulary, parts.config.vocabulary));
  }
  if (AttentionChunk(parts.config) != 0 && resolved.chunk_pages < 1) {
    return absl::InvalidArgumentError("the model's chunked layers need chunk_pages above 0");
  }
  return std::unique_ptr<Stage>(new Stage(std::move(parts), resolved));
}

Stage::Stage(StageParts parts, const StageOptions& options)
    : parts_(std::move(parts)),
      limits_(LimitsOf(parts_.config, options)),
      scratch_(ScratchOf(parts_.config, parts_.extent, MemoryOf(options).limits)),
      pool_(PoolShapeOf(parts_.config, parts_.extent, MemoryOf(options))),
      rope_(MakeRopeTable(parts_.architecture->rope_frequencies(parts_.config, parts_.weights),
                          options.max_positions)),
      batch_(limits_) {
  const StepScratch& scratch = scratch_;
  hidden_ = Floats(scratch.hidden);
  rows_ = hidden_.view();
  normed_ = Floats(scratch.normed);
  partial_ = Floats(scratch.partial);
  query_ = Floats(scratch.query);
  attended_ = Floats(scratch.attended);
  key_ = Floats(scratch.key);
  value_ = Floats(scratch.value);
  gate_ = Floats(scratch.gate);
  up_ = Floats(scratch.up);
  query_scales_ = parts_.architecture->query_scales(parts_.config, options.max_positions);
  if (parts_.extent.last_stage()) {
    head_ = std::make_unique<SampleHead>(parts_.config.vocabulary, parts_.extent, scratch);
  }
  if (parts_.config.experts) {
    experts_ = std::make_unique<ExpertBuffers>(parts_.config, parts_.extent, scratch);
  }
}

LayerContext Stage::Context(Collectives& collectives) {
  const auto rows = static_cast<int64_t>(plan_->tokens.size());
  return {.ops = *parts_.ops,
          .collectives = collectives,
          .config = parts_.config,
          .extent = parts_.extent,
          .weights = parts_.weights,
          .rows = batch_.rows(),
          .chunk_rows = batch_.chunk_rows(),
          .kv = pool_.layers(),
          .rope_cos = rope_.cos.view(),
          .rope_sin = rope_.sin.view(),
          .query_scales = query_scales_.view(),
          .tokens = plan_->tokens,
          .normed = First(normed_, rows),
          .partial = First(partial_, rows),
          .query = First(query_, rows),
          .key = First(key_, rows),
          .value = First(value_, rows),
          .attended = First(attended_, rows),
          .gate = First(gate_, rows),
          .up = First(up_, rows),
          .experts = Experts(rows)};
}

ExpertScratch Stage::Experts(int64_t rows) {
  if (experts_ == nullptr) return {};
  return experts_->Scratch(rows, First(partial_, rows * (1 + parts_.config.experts->per_token)));
}

absl::Status Stage::Begin(const StepPlan& plan) {
  TRI_RETURN_IF_ERROR(CheckPlan(plan, limits_));
  plan_ = &plan;
  batch_.Assign(plan);
  return absl::OkStatus();
}

TensorView Stage::hidden() { return rows_.Rows({0, static_cast<int64_t>(plan_->tokens.size())}); }

void Stage::CopyPages() {
  for (size_t layer = 0; layer < pool_.layers().size(); ++layer) {
    const std::span<const int32_t> copies =
        pool_.chunked(layer) ? plan_->chunk_page_copies : plan_->page_copies;
    if (copies.empty()) continue;
    parts_.ops->CopyPages(copies, pool_.layers()[layer].k);
    parts_.ops->CopyPages(copies, pool_.layers()[layer].v);
  }
}

absl::Status Stage::Forward(Collectives& collectives) {
  LayerContext context = Context(collectives);
  const TensorView x = hidden();
  CopyPages();
  if (parts_.extent.first_stage()) parts_.architecture->embed(context, x);
  for (int64_t layer = parts_.extent.layers.begin; layer < parts_.extent.layers.end; ++layer) {
    parts_.architecture->layer(context, static_cast<int>(layer), x);
  }
  TRI_RETURN_IF_ERROR(parts_.ops->status());
  return collectives.status();
}

absl::StatusOr<StepResult> Stage::Sample(Collectives& collectives) {
  TRI_CHECK(parts_.extent.last_stage());
  TRI_RETURN_IF_ERROR(CheckLateMasks(*plan_, limits_));
  StepResult result;
  result.step = plan_->step;
  LayerContext context = Context(collectives);
  if (parts_.extent.place.shard == 0) result.samples.reserve(plan_->samples.size());
  TRI_RETURN_IF_ERROR(
      head_->Sample(*parts_.architecture, context, hidden(), *plan_, result.samples));
  TRI_RETURN_IF_ERROR(parts_.ops->status());
  if (plan_->report_loads && parts_.extent.place.shard == 0) {
    result.expert_loads.assign(expert_loads().begin(), expert_loads().end());
  }
  return result;
}

}  // namespace trireme
