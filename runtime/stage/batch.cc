#include "runtime/stage/batch.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_format.h"
#include "runtime/base/status_macros.h"
#include "runtime/sampling/sampler.h"

namespace trireme {
namespace {

absl::Status Malformed(const StepPlan& plan, std::string_view what) {
  return absl::InvalidArgumentError(absl::StrFormat("step plan %d: %s", plan.step, what));
}

bool Ascending(const std::vector<int32_t>& offsets, size_t last) {
  if (offsets.empty() || offsets.front() != 0) return false;
  for (size_t i = 1; i < offsets.size(); ++i) {
    if (offsets[i] < offsets[i - 1]) return false;
  }
  return offsets.back() == static_cast<int64_t>(last);
}

absl::Status CheckSpan(const StepPlan& plan, size_t span, const BatchLimits& limits) {
  const int32_t begin = plan.span_offsets[span];
  const int32_t end = plan.span_offsets[span + 1];
  if (begin == end) return Malformed(plan, "a span has no rows");
  const int64_t first = plan.positions[static_cast<size_t>(begin)];
  const int64_t last = plan.positions[static_cast<size_t>(end - 1)];
  if (first < 0 || last >= limits.max_positions || last - first != end - 1 - begin) {
    return Malformed(plan, "positions of a span are not consecutive or out of range");
  }
  for (int32_t row = begin; row < end; ++row) {
    if (plan.positions[static_cast<size_t>(row)] != first + (row - begin)) {
      return Malformed(plan, "positions of a span are not consecutive");
    }
  }
  const int64_t pages = plan.page_offsets[span + 1] - plan.page_offsets[span];
  if (pages * limits.page_tokens <= last) return Malformed(plan, "pages do not cover a span");
  if (limits.chunk == 0) return absl::OkStatus();
  if (first / limits.chunk != last / limits.chunk) {
    return Malformed(plan, "a span crosses from one chunk of attention into the next");
  }
  const int64_t chunk_pages = plan.chunk_page_offsets[span + 1] - plan.chunk_page_offsets[span];
  if (chunk_pages * limits.page_tokens <= last % limits.chunk) {
    return Malformed(plan, "the chunk's pages do not cover a span");
  }
  return absl::OkStatus();
}

bool AllBelow(const std::vector<int32_t>& ids, int64_t end) {
  return std::all_of(ids.begin(), ids.end(), [=](int32_t id) { return id >= 0 && id < end; });
}

absl::Status CheckChunkPages(const StepPlan& plan, const BatchLimits& limits) {
  const size_t offsets = limits.chunk == 0 ? 0 : plan.span_offsets.size();
  if (plan.chunk_page_offsets.size() != offsets || (offsets == 0 && !plan.chunk_pages.empty()) ||
      (offsets > 0 && !Ascending(plan.chunk_page_offsets, plan.chunk_pages.size()))) {
    return Malformed(plan, "offsets of the chunk's pages are not as the model needs them");
  }
  if (!AllBelow(plan.chunk_pages, limits.chunk_pages)) {
    return Malformed(plan, "page of a chunk out of range");
  }
  return absl::OkStatus();
}

absl::Status CheckCopies(const StepPlan& plan, const std::vector<int32_t>& copies, int64_t pages) {
  if (copies.size() % 2 != 0 || !AllBelow(copies, pages)) {
    return Malformed(plan, "page to copy out of range");
  }
  return absl::OkStatus();
}

bool Within(const PlanRange& range, size_t size) {
  return range.first >= 0 && range.count >= 0 &&
         int64_t{range.first} + range.count <= static_cast<int64_t>(size);
}

absl::Status CheckSamples(const StepPlan& plan, const BatchLimits& limits) {
  if (plan.bias_values.size() != plan.bias_tokens.size() ||
      !AllBelow(plan.bias_tokens, limits.vocabulary)) {
    return Malformed(plan, "biased token out of range");
  }
  for (const float bias : plan.bias_values) {
    if (!(bias < std::numeric_limits<float>::infinity())) {
      return Malformed(plan, "a bias is NaN or infinite upward");
    }
  }
  if (plan.history_counts.size() != plan.history_tokens.size() ||
      !AllBelow(plan.history_tokens, limits.vocabulary) ||
      !AllBelow(plan.history_counts, std::numeric_limits<int32_t>::max())) {
    return Malformed(plan, "token or count of a history out of range");
  }
  const auto words = static_cast<size_t>(MaskWords(limits.vocabulary));
  if (plan.late_masks < 0) return Malformed(plan, "fewer than no masks are to come");
  if (plan.late_masks == 0 && plan.masks.size() % words != 0) {
    return Malformed(plan, "masks are not whole");
  }
  const int64_t masks =
      plan.late_masks > 0 ? plan.late_masks : static_cast<int64_t>(plan.masks.size() / words);
  for (const SampleRow& sample : plan.samples) {
    if (sample.row < 0 || sample.row >= static_cast<int64_t>(plan.tokens.size()) ||
        sample.target < -1 || sample.target >= limits.vocabulary || sample.num_logprobs < -1 ||
        sample.num_logprobs > limits.vocabulary) {
      return Malformed(plan, "sample row out of range");
    }
    if (!Within(sample.biases, plan.bias_tokens.size()) ||
        !Within(sample.history, plan.history_tokens.size()) || sample.mask < -1 ||
        sample.mask >= masks) {
      return Malformed(plan, "sample names biases, a history or a mask that the plan lacks");
    }
    const absl::Status valid = ValidateSamplingParams(sample.params);
    if (!valid.ok()) return Malformed(plan, std::string(valid.message()));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckPlan(const StepPlan& plan, const BatchLimits& limits) {
  const size_t rows = plan.tokens.size();
  if (rows == 0 || static_cast<int64_t>(rows) > limits.rows || plan.positions.size() != rows) {
    return Malformed(plan, absl::StrFormat("expected 1 to %d rows, found %d with %d positions",
                                           limits.rows, rows, plan.positions.size()));
  }
  if (!Ascending(plan.span_offsets, rows) || !Ascending(plan.page_offsets, plan.pages.size()) ||
      plan.span_offsets.size() != plan.page_offsets.size()) {
    return Malformed(plan, "offsets are not ascending");
  }
  if (!AllBelow(plan.tokens, limits.vocabulary)) return Malformed(plan, "token out of range");
  if (!AllBelow(plan.pages, limits.pages)) return Malformed(plan, "page out of range");
  TRI_RETURN_IF_ERROR(CheckChunkPages(plan, limits));
  for (size_t span = 0; span + 1 < plan.span_offsets.size(); ++span) {
    TRI_RETURN_IF_ERROR(CheckSpan(plan, span, limits));
  }
  TRI_RETURN_IF_ERROR(CheckCopies(plan, plan.page_copies, limits.pages));
  TRI_RETURN_IF_ERROR(CheckCopies(plan, plan.chunk_page_copies, limits.chunk_pages));
  return CheckSamples(plan, limits);
}

absl::Status CheckLateMasks(const StepPlan& plan, const BatchLimits& limits) {
  const int64_t words = plan.late_masks * MaskWords(limits.vocabulary);
  if (plan.late_masks == 0 || static_cast<int64_t>(plan.masks.size()) == words) {
    return absl::OkStatus();
  }
  return Malformed(
      plan, absl::StrFormat("expected %d words of masks, found %d", words, plan.masks.size()));
}

Batch::Batch(const BatchLimits& limits) : chunk_(limits.chunk) {
  sequences_.reserve(static_cast<size_t>(limits.rows));
}

void Batch::Assign(const StepPlan& plan) {
  sequences_.clear();
  for (size_t span = 0; span + 1 < plan.span_offsets.size(); ++span) {
    const auto rows = static_cast<size_t>(plan.span_offsets[span + 1] - plan.span_offsets[span]);
    sequences_.insert(sequences_.end(), rows, static_cast<int32_t>(span));
  }
  rows_ = {plan.positions, sequences_, plan.page_offsets, plan.pages};
  chunk_rows_ = {plan.positions, sequences_, plan.chunk_page_offsets, plan.chunk_pages, chunk_};
}

}  // namespace trireme
