#include "runtime/stage/sample_head.h"

#include <algorithm>

#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

// The sampler's exchanges over a stage's collectives: words travel as pairs of fp32, which a gather
// copies bit by bit.
class CollectivesExchange final : public ShardExchange {
 public:
  CollectivesExchange(Collectives& collectives, std::vector<int64_t>& widths)
      : collectives_(collectives), widths_(widths) {}

  int shard() const override { return collectives_.rank(); }
  int shards() const override { return collectives_.size(); }
  absl::Status Gather(std::span<const uint64_t> mine, std::span<uint64_t> all,
                      std::string_view what) override {
    const auto width = static_cast<int64_t>(2 * mine.size());
    widths_.assign(static_cast<size_t>(shards()), width);
    collectives_.AllGather(
        ConstTensorView(reinterpret_cast<const std::byte*>(mine.data()), DType::kF32, {1, width}),
        widths_,
        TensorView(reinterpret_cast<std::byte*>(all.data()), DType::kF32, {1, width * shards()}),
        what);
    return collectives_.status();
  }

 private:
  Collectives& collectives_;
  std::vector<int64_t>& widths_;
};

std::span<std::byte> WorkOf(Tensor& tensor) {
  return {tensor.view().data, static_cast<size_t>(tensor.view().bytes())};
}

TensorView First(Tensor& tensor, int64_t rows) { return tensor.view().Rows({0, rows}); }

}  // namespace

SampleHead::SampleHead(int64_t vocabulary, const Extent& extent, const StepScratch& scratch)
    : slice_{.vocabulary = vocabulary,
             .begin = extent.vocabulary.begin,
             .end = extent.vocabulary.end},
      widths_(extent.vocabulary_widths),
      rows_(DType::kF32, scratch.head_rows),
      logits_(DType::kF32, scratch.shard_logits),
      work_(DType::kF32, scratch.sample_work),
      sampler_(slice_) {
  row_ids_.reserve(kHeadRows);
  sample_logits_.reserve(kHeadRows);
}

absl::Status SampleHead::Sample(const Architecture& architecture, LayerContext& c,
                                TensorView hidden, const StepPlan& plan,
                                std::vector<SampledToken>& results) {
  std::span<const SampleRow> left = plan.samples;
  while (!left.empty()) {
    const std::span<const SampleRow> block = NextBlock(left);
    const auto rows = static_cast<int64_t>(row_ids_.size());
    c.ops.GatherRows(hidden, row_ids_, First(rows_, rows));
    architecture.head(c, First(rows_, rows), First(logits_, rows));
    TRI_RETURN_IF_ERROR(SampleBlock(block, c, plan, results));
    left = left.subspan(block.size());
  }
  return absl::OkStatus();
}

std::span<const SampleRow> SampleHead::NextBlock(std::span<const SampleRow> samples) {
  row_ids_.clear();
  size_t count = 0;
  for (; count < samples.size(); ++count) {
    const int32_t row = samples[count].row;
    if (!row_ids_.empty() && row_ids_.back() == row) continue;
    if (row_ids_.size() == kHeadRows) break;
    row_ids_.push_back(row);
  }
  return samples.first(count);
}

absl::Status SampleHead::SampleBlock(std::span<const SampleRow> block, LayerContext& c,
                                     const StepPlan& plan, std::vector<SampledToken>& results) {
  CollectivesExchange exchange(c.collectives, exchange_widths_);
  size_t at = 0;  // in row_ids_, of the sample's row
  while (!block.empty()) {
    const std::span<const SampleRow> batch = block.first(BatchSize(block));
    sample_logits_.clear();
    for (const SampleRow& sample : batch) {
      while (row_ids_[at] != sample.row) ++at;
      sample_logits_.push_back(logits_.view().row_as<float>(static_cast<int64_t>(at)));
    }
    const size_t before = results.size();
    TRI_RETURN_IF_ERROR(sampler_.Sample(
        {.plan = plan, .samples = batch, .logits = sample_logits_, .work = WorkOf(work_)}, exchange,
        c.ops.pool(), results));
    for (size_t i = 0; i < batch.size(); ++i) {
      if (!batch[i].want_logits) continue;
      SampledToken* const result = exchange.shard() == 0 ? &results[before + i] : nullptr;
      TRI_RETURN_IF_ERROR(GatherLogits(sample_logits_[i], c.collectives, result));
    }
    block = block.subspan(batch.size());
  }
  return absl::OkStatus();
}

size_t SampleHead::BatchSize(std::span<const SampleRow> samples) {
  // Long lists of most likely tokens take the exchange's memory.
  constexpr int64_t kMostListed = 1 << 14;
  int64_t listed = 0;
  size_t count = 0;
  while (count < std::min<size_t>(samples.size(), kHeadRows)) {
    listed += std::max(samples[count].num_logprobs, 0);
    if (count > 0 && listed > kMostListed) break;
    ++count;
  }
  return count;
}

absl::Status SampleHead::GatherLogits(const float* slice, Collectives& collectives,
                                      SampledToken* result) const {
  const auto size = static_cast<size_t>(slice_.vocabulary);
  std::vector<float> logits(size);
  collectives.AllGather(
      ViewOf(std::span(slice, slice_.size()), {1, static_cast<int64_t>(slice_.size())}), widths_,
      ViewOf(std::span(logits), {1, slice_.vocabulary}), "logits");
  TRI_RETURN_IF_ERROR(collectives.status());
  if (result != nullptr) result->logits = std::move(logits);
  return absl::OkStatus();
}

}  // namespace trireme
