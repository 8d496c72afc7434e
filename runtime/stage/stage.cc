#include "runtime/stage/stage.h"

#include <array>

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
  if (resolved.kv_dtype != DType::kF32 && resolved.kv_dtype != DType::kF16) {
    return absl::InvalidArgumentError(
        absl::StrFormat("the KV cache must be F32 or F16; got %s", Name(resolved.kv_dtype)));
  }
  if (resolved.page_tokens < 1 || resolved.pages < 1 || resolved.max_step_tokens < 1) {
    return absl::InvalidArgumentError("pages, page_tokens and max_step_tokens must be positive");
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
  head_rows_ = Floats(scratch.head_rows);
  shard_logits_ = Floats(scratch.shard_logits);
  logits_ = Floats(scratch.logits);
  query_scales_ = parts_.architecture->query_scales(parts_.config, options.max_positions);
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
  StepResult result;
  result.step = plan_->step;
  LayerContext context = Context(collectives);
  const std::span<const SampleRow> samples = plan_->samples;
  if (parts_.extent.place.shard == 0) result.samples.reserve(samples.size());
  for (size_t begin = 0; begin < samples.size(); begin += kHeadRows) {
    const auto block = samples.subspan(begin, std::min<size_t>(kHeadRows, samples.size() - begin));
    const auto count = static_cast<int64_t>(block.size());
    std::array<int32_t, kHeadRows> rows{};
    for (size_t i = 0; i < block.size(); ++i) rows[i] = block[i].row;
    parts_.ops->GatherRows(hidden(), std::span(rows).first(block.size()), First(head_rows_, count));
    parts_.architecture->head(context, First(head_rows_, count), First(shard_logits_, count));
    collectives.AllGather(First(shard_logits_, count), parts_.extent.vocabulary_widths,
                          First(logits_, count), "logits");
    TRI_RETURN_IF_ERROR(collectives.status());
    if (parts_.extent.place.shard != 0) continue;
    for (size_t i = 0; i < block.size(); ++i) {
      const float* row = logits_.view().row_as<float>(static_cast<int64_t>(i));
      result.samples.push_back(::trireme::Sample(
          {row, static_cast<size_t>(parts_.config.vocabulary)}, block[i], sampler_scratch_));
    }
  }
  TRI_RETURN_IF_ERROR(parts_.ops->status());
  if (plan_->report_loads && parts_.extent.place.shard == 0) {
    result.expert_loads.assign(expert_loads().begin(), expert_loads().end());
  }
  return result;
}

}  // namespace trireme
